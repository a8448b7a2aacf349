"""IonQ's cloud: everything that knows its API, and the only room that imports its client."""
