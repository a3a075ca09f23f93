"""Leaving in good order: asked by the operator or by the agent, carried out by the agent."""
