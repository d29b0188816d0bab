"""One rule for each Keras layer: how replicated channels pass through it, and what is rewritten in it."""

from eas_tf.surgery.rules import elementwise, joins, makers, operators, shapes
from eas_tf.surgery.rules.elementwise import PerChannel
from eas_tf.surgery.rules.joins import Join
from eas_tf.surgery.rules.makers import Maker
from eas_tf.surgery.rules.rule import Rule, register_rule, rule_of

_ = elementwise, joins, makers, operators, shapes  # imported for the rules that they register

__all__ = ["Join", "Maker", "PerChannel", "Rule", "register_rule", "rule_of"]
