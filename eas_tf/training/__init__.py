"""How one network is trained: the recipe, the loop inside one graph, augmentation, strategies."""
