"""Are SAEs useful for probing where labels are few, unbalanced, wrong or of other positions?

`places` says of which positions a regime draws examples, `methods` what reads a property from them, `quiver` chooses
among the methods on validation, and `probing_regimes` is the study.
"""
