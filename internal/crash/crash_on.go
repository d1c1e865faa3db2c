//go:build crash && linux

package crash

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// What a test sets.
const (
	Plan = "TUMA_CRASH"      // PLACE, or PLACE:stop to be stopped instead of killed
	File = "TUMA_CRASH_FILE" // gets a line at each passage; its directory must exist
	Nth  = "TUMA_CRASH_NTH"  // digits: at which passage; empty: the first
)

// At ends this process with SIGKILL, or stops it with SIGSTOP, at the n-th passage
// of the place that the environment names. Passages are counted in a file, so that
// a test can see that the place was reached.
func At(name string) {
	if due(name) {
		end()
	}
}

// Soon does the same a little later.
func Soon(name string) {
	if due(name) {
		time.AfterFunc(20*time.Millisecond, end)
	}
}

func due(name string) bool {
	place, _, _ := strings.Cut(os.Getenv(Plan), ":")
	if place != name {
		return false
	}
	f, err := os.OpenFile(os.Getenv(File), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		panic(fmt.Sprintf("crash: %v", err)) // a test that counts nothing proves nothing
	}
	defer f.Close()
	if _, err := f.WriteString("\n"); err != nil {
		panic(fmt.Sprintf("crash: %v", err))
	}
	passages, err := f.Seek(0, io.SeekCurrent) // right behind our line, whoever writes beside us
	if err != nil {
		panic(fmt.Sprintf("crash: %v", err))
	}
	nth := int64(1)
	if n := os.Getenv(Nth); n != "" {
		if _, err := fmt.Sscan(n, &nth); err != nil {
			panic(fmt.Sprintf("crash: %s: %v", Nth, err))
		}
	}
	return passages == nth
}

func end() {
	if !strings.HasSuffix(os.Getenv(Plan), ":stop") {
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
		select {} // nothing after the place happens
	}
	// Sent to this very thread, so that it goes no step further: sent to the process
	// it would stop some other thread first.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = syscall.Tgkill(syscall.Getpid(), syscall.Gettid(), syscall.SIGSTOP)
}
