//go:build !linux

package e2e

import "syscall"

// withParent has nothing to offer here: a test program that is killed may leave
// processes behind.
func withParent() *syscall.SysProcAttr { return nil }
