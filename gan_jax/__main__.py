from gan_jax.cli import main

main()
