"""Requests that mean harm, each with what it has to be answered, and the heartbeat of everybody else meanwhile."""
