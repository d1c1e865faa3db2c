// Package chaos breaks a running installation in every way that it must survive,
// and lets the simulated gateways' ledger judge: nothing lost, nothing sent twice
// but what was uncertain and whose policy says retry, never over a limit, every
// message at an end, what was cancelled never sent, every report matched.
//
//	make crashes     each named place of internal/crash × policy × gateway: the process
//	                 dies there, comes back, and everything drains
//	make chaos       five minutes of a nemesis under load; CHAOS="-duration 10m -seed 7 -nodes 3"
//	make mutations   protections taken out of the code one by one: the judge must go red
//	go test ./test/chaos   a small size of the first two
//
// TUMA_RIG_KEEP=DIR keeps configs, stores and logs. What a run prints first is its
// seed, which repeats the nemesis' choices, though not what the machine makes of
// them.
package chaos
