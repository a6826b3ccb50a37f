"""The subcommands that let other files and other programs have the objects."""
