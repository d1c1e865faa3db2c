//go:build !linux

package strength

func eager() {}

func usual(int) {}
