"""`make fuzz`: the readers of untrusted bytes, under a coverage-guided fuzzer (atheris, libFuzzer)."""
