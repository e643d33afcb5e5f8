"""The ground floor: child processes, signals and durable writes, which no other room does by itself."""
