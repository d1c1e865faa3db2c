// Package e2e holds stories about the real programs: real processes, a real
// nats-server, a real redis-server, and the simulated gateways as the judge of
// what was sent, how often and how fast. Each file is one story; test/rig runs the
// processes, and says how to keep their logs.
//
//	go test ./test/e2e            all of them
//	go test -short ./test/e2e     the same with fewer messages
package e2e
