// Package strength proves what the dispatcher promises of batching, slots,
// priority and fairness: real processes (ours, a nats-server, a redis-server)
// against the simulated gateways, which run inside the test so that their ledger
// and the client's clock are one.
//
//	make strength                 full size: several minutes
//	go test ./test/strength       a small size of the same, within a minute
//	TUMA_RIG_KEEP=DIR             keep configs and logs below DIR
//
// Whether a limit held is judged by the kernel's time of each request's arrival,
// where it tells one (Linux), and by the gateway's own reading of the headers
// unless that came more than 5 ms after the arrival: a sender cannot answer for a
// gateway that stalls and reads together what came apart (docs/adr/0020).
//
// What must never happen (a window over its limit, a number twice in a request,
// an expired message that leaves) is judged whatever the machine does. How fast
// something is, or how much of a limit is used, is judged only if timers beside
// it kept their time; otherwise it is reported. The figures are printed as a table
// at the end.
package strength
