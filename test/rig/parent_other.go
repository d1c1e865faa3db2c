//go:build !linux

package rig

import "syscall"

// withParent has nothing to offer here: a test program that is killed may leave
// processes behind.
func withParent() *syscall.SysProcAttr { return nil }
