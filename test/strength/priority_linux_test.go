package strength

import (
	"os"
	"strconv"
	"syscall"
)

// eager gives this process, in which the gateways note when a request arrives, the
// processors before those it judges, where that is permitted: a judge that is late
// itself would see a burst where there was none.
func eager() {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	for _, t := range threads {
		if id, err := strconv.Atoi(t.Name()); err == nil {
			_ = syscall.Setpriority(syscall.PRIO_PROCESS, id, -10) // not permitted: then it judges as it can
		}
	}
}

// usual takes that back for a child.
func usual(pid int) { _ = syscall.Setpriority(syscall.PRIO_PROCESS, pid, 0) }
