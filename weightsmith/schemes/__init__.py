"""What packed weights stand for: which stored tensors make one weight, and its shape unpacked."""
