// Command bench measures Tuma beside what one could build instead, on this
// machine, and prints one table: messages per second with their medians and
// ranges, ratios from interleaved runs (A B A B ...), the CPU and the memory of
// each program, and the targets that were set.
//
//	go run ./test/bench                 full sizes, 5 runs of each: some 15 minutes
//	go run ./test/bench -scale 50 -runs 1   the same in a minute; the figures mean nothing
//	go run ./test/bench -only dispatch  one scenario
//	go run ./test/bench -profile DIR    CPU profiles of Tuma's programs
//
// Everything is a process of its own and shares the machine's cores: a
// nats-server built from go.mod's module, a redis-server, the simulated gateway,
// whoever is measured (Tuma's program or the rival), and one load generator where
// there is load. They are made from this same binary, which starts itself again
// by the names in children. Each run has a NATS store of its own, empty at first.
//
// Tuma keeps every promise meanwhile: intents and outcomes in the journal, slots
// from Redis (the limit is set so high that it does not hold), events, metrics,
// and traces of which 1% are kept. The rivals keep none.
package main
