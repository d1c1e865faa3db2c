package dispatch

// SweepAtMost is how many pieces one sweep of a lane looks at.
const SweepAtMost = sweepAtMost
