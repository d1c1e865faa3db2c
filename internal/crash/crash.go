//go:build !crash

// Package crash names the places at which a test lets a process die. In a normal
// build a place is nothing at all; built with -tags crash the process ends itself
// there, if its environment says so. It carries no state and stops nobody.
package crash

// At is a place. Names are unique and begin with the stage.
func At(string) {}

// Soon is a place that lies some ten milliseconds ahead: where no code of ours runs
// at the instant that is meant.
func Soon(string) {}
