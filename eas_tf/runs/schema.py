"""The tables of a record."""

#: Of the schema. Version 2 had no column `found`, and is read and gone on with as it is. A record of another version is
#: refused by name.
VERSION = 3

SCHEMA = """
CREATE TABLE run (
    id INTEGER PRIMARY KEY,           -- 1
    config TEXT NOT NULL,             -- JSON: every setting
    versions TEXT NOT NULL,           -- JSON: of Python and of all packages that a result depends on
    fingerprint TEXT NOT NULL,        -- of the images
    created TEXT NOT NULL,            -- ISO 8601
    seconds REAL NOT NULL,            -- that all processes together have worked on it
    ended TEXT NOT NULL,              -- why the last process ended; 'finished' after the last batch; empty meanwhile
    networks INTEGER NOT NULL,        -- rows of table network
    batches INTEGER NOT NULL,         -- rows of table batch
    checksum TEXT NOT NULL
);
CREATE TABLE network (
    id INTEGER PRIMARY KEY,           -- 0 is the start network
    kind TEXT NOT NULL,               -- start; child; promoted: the best one, trained longer; final: to its end
    stage INTEGER NOT NULL,           -- from 1
    batch INTEGER NOT NULL,           -- of the agent, from 1; 0 for what no agent has asked for
    parent INTEGER,                   -- the network that it has grown from; NULL for the start network
    transformations TEXT NOT NULL,    -- separated by spaces
    seed INTEGER NOT NULL,
    architecture TEXT NOT NULL,       -- layer string
    parameters INTEGER NOT NULL,      -- trainable weights
    multiply_adds INTEGER NOT NULL,   -- for one image
    epochs INTEGER NOT NULL,          -- that it was trained for
    accuracy REAL NOT NULL,           -- fraction of the validation images
    score REAL NOT NULL,              -- what the metric says, less what its size costs
    loss REAL,                        -- mean cross-entropy on them, nats
    seconds REAL NOT NULL,
    failure TEXT NOT NULL,            -- empty if there was none
    reused INTEGER NOT NULL,          -- 1 if it was not trained for this row, because an equal child was
    curve TEXT NOT NULL,              -- JSON: what the metric says after each epoch, if somebody looked
    stopped INTEGER NOT NULL,         -- 1 if it ended early, because it was worse than its siblings had been
    digest TEXT NOT NULL,             -- SHA-256 of its structure and weights; empty if it was not trained for this row
    found TEXT NOT NULL,              -- JSON: for each class the validation images that it classifies right, and all
    checksum TEXT NOT NULL
);
CREATE TABLE batch (
    id INTEGER PRIMARY KEY,           -- from 1
    stage INTEGER NOT NULL,
    parent INTEGER NOT NULL,          -- that its children have grown from, unless the agent has chosen others
    size INTEGER NOT NULL,            -- networks
    reward REAL NOT NULL,             -- mean; 0 as long as the batch is in training
    learned TEXT NOT NULL,            -- JSON: the agent's account of what it learned, such as baseline and entropy
    state TEXT NOT NULL,              -- the file of the agent's state after it; empty as long as it is in training
    sha256 TEXT NOT NULL,             -- of that file
    checksum TEXT NOT NULL
);
"""
