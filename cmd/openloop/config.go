package main

// configFile is the file in a run's folder that repeats the run.
const configFile = "openloop.yaml"
