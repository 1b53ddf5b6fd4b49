"""What every script and package uses: errors, files, seeds, progress, devices, the command line. No torch."""
