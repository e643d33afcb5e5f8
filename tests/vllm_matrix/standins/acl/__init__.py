"""Stand-in for CANN's acl module: vllm_ascend imports one name of it."""
