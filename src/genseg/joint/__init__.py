"""The heart: stages I, II and III, and the gradient that leads from held-out error back to the generator.

To be read in this order, the first alone to know the method:

- `update`: one joint update, from top to bottom
- `stages`: what each stage does in it; `generation`: what stages I and III train and steer
- `synthesis`: how synthetic pairs come about
- `steps`, `hypergradient`: the steps that were taken as functions, and the derivative through them
- `guards`: what is looked at before that derivative is trusted
- `schedule`, `patches`, `loop`: when what happens, and on which cases
- `source`: what is kept of it once training is over
"""
