"""`cost`: what a preset takes on this machine."""

from gan_jax.runs import paper as papers


def cost(
    paper: str,  # PAPER or PAPER:PRESET, as `train` takes it
    /,
) -> None:
    """Parameters, FLOPs, memory and expected time of a preset on this machine, from a few rounds on noise."""
    from gan_jax.runs.cost import measure
    from gan_jax.training.spec import as_schedule

    found, config = papers.preset(paper)
    game = as_schedule(found.game(config))(0)
    costs = measure(game, found.spec(config))
    images = game.slices * (game.batch or config.batch)
    for player, number in costs.parameters.items():
        print(f"{player:<20}{number:>16,} parameters")
    print(f"{'a round':<20}{costs.flops / 1e9:>16,.2f} GFLOP, {images} examples read")
    print(f"{'memory':<20}{costs.bytes / 2**20:>16,.1f} MiB")
    print(f"{'pace':<20}{images / costs.seconds:>16,.1f} examples/s, {costs.flops / costs.seconds / 1e9:,.1f} GFLOP/s")
    total = costs.compile_seconds + config.steps * costs.seconds
    print(f"{'expected time':<20}{total:>16,.0f} s for {config.steps:,} rounds, compilation included")
