// Package e2e holds stories about the real programs: real processes, a real
// nats-server, a real redis-server, and the simulated gateways as the judge of
// what was sent, how often and how fast. Each file is one story.
//
//	go test ./test/e2e            all of them
//	go test -short ./test/e2e     the same with fewer messages
//	TUMA_E2E_KEEP=DIR             keep configs and logs below DIR
//	TUMA_E2E_BIN=DIR              take the programs from DIR instead of building them
//
// A story owns every process it starts: it ends them by their id, and they end
// with the test program whatever becomes of it. Logs are shown when a story fails.
package e2e
