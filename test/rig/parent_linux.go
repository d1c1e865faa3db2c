package rig

import "syscall"

// withParent lets the kernel end a process whose test program is gone.
func withParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
