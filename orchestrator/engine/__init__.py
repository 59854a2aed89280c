"""Pure decisions: definition to plan, state and event to decision, decision to messages."""
