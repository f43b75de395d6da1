"""Programs started and watched by the maintainers' tools and the tests: LungLabel's server, Orthanc."""
