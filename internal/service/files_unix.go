//go:build unix

package service

import (
	"math"
	"syscall"
)

// files is how many the process may have open; 0: not known.
func files() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int(min(uint64(limit.Cur), math.MaxInt32)) //nolint:unconvert // a signed number on some systems
}
