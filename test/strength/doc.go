// Package strength proves what the dispatcher promises of batching, slots,
// priority and fairness: real processes (ours, a nats-server, a redis-server)
// against the simulated gateways, which run inside the test so that their ledger
// and the client's clock are one.
//
//	make strength                 full size: several minutes
//	go test ./test/strength       a small size of the same, within a minute
//	TUMA_STRENGTH_KEEP=DIR        keep configs and logs below DIR
//
// What must never happen (a window over its limit, a number twice in a request,
// an expired message that leaves) is judged whatever the machine does. How fast
// something is, or how much of a limit is used, is judged only if timers beside
// it kept their time; otherwise it is reported. The figures are printed as a table
// at the end.
package strength
