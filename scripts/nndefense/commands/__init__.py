"""Sub-commands of `nndefense`, one module each. They import without torch, which they load where they use it."""
