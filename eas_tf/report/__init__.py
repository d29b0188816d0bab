"""What people see of runs: leaderboards, pictures, pages."""
