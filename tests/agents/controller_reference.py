"""The controller once more, in NumPy and float64, one network at a time: what the fast one must equal."""

from itertools import product

import numpy as np


def weights_of(policy):
    """The policy's weights by name, as float64 arrays that a test may change."""
    variables = {
        "tokens": policy.encoder.tokens.embeddings,
        "wider": policy.actors["widen"].classifier.kernel,
        "wider_bias": policy.actors["widen"].classifier.bias,
        "inputs": policy.actors["deepen"].inputs.embeddings,
    }
    for name, cell in (
        ("forward", policy.encoder.forward),
        ("backward", policy.encoder.backward),
        ("deeper", policy.actors["deepen"].cell),
    ):
        variables |= {name: cell.kernel, f"{name}_recurrent": cell.recurrent_kernel, f"{name}_bias": cell.bias}
    for number, layer in enumerate(policy.actors["deepen"].classifiers):
        variables |= {f"head{number}": layer.kernel, f"head{number}_bias": layer.bias}
    return {name: variable.numpy().astype(np.float64) for name, variable in variables.items()}, variables


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_step(w, name, x, h, c):
    i, f, g, o = np.split(x @ w[name] + h @ w[f"{name}_recurrent"] + w[f"{name}_bias"], 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def encode(w, tokens):
    """States of the layers `[layers, 100]`, last outputs `[100]`, last cell states `[100]`; padding is left out."""
    embedded = [w["tokens"][token] for token in tokens if token]
    ends, states = [], []
    for name, inputs in (("forward", embedded), ("backward", embedded[::-1])):
        h, c, run = np.zeros(50), np.zeros(50), []
        for x in inputs:
            h, c = lstm_step(w, name, x, h, c)
            run.append(h)
        ends.append((h, c))
        states.append(run)
    layers = np.concatenate([states[0], states[1][::-1]], axis=1)
    return layers, np.concatenate([h for h, _ in ends]), np.concatenate([c for _, c in ends])


def widening(w, tokens, legal, decisions):
    """Log-probability and entropy of a choice of layers."""
    p = sigmoid(encode(w, tokens)[0] @ w["wider"] + w["wider_bias"])[:, 0]
    log_probability = entropy = 0.0
    for chance, allowed, decision in zip(p, legal, decisions, strict=False):
        if allowed:
            log_probability += np.log(chance if decision else 1 - chance)
            entropy -= chance * np.log(chance) + (1 - chance) * np.log(1 - chance)
    return log_probability, entropy


def deepening(w, tokens, legal, decisions):
    """Log-probability and entropy of block, position and kernel; legal `[blocks, positions, kernels]`."""
    _, h, c = encode(w, tokens)
    log_probability, entropy, fed = 0.0, 0.0, 0
    for number, decision in enumerate(decisions):
        h, c = lstm_step(w, "deeper", w["inputs"][fed], h, c)
        choices = [i for i in range(len(legal)) if np.any(legal[i])]
        scores = np.exp((h @ w[f"head{number}"] + w[f"head{number}_bias"])[choices])
        p = dict(zip(choices, scores / scores.sum(), strict=True))
        log_probability += np.log(p[decision])
        entropy -= sum(chance * np.log(chance) for chance in p.values())
        fed = 1 + decision + (len(w["head0_bias"]) if number == 1 else 0)
        legal = legal[decision]
    return log_probability, entropy


def triples(legal):
    """All legal decisions of a mask `[blocks, positions, kernels]`."""
    return [t for t in product(*map(range, legal.shape)) if legal[t]]
