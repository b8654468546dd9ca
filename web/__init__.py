"""HTTP and WebSocket: routes, their limits, and how errors are answered."""
