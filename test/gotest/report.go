package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// event is one line of `go test -json` (see `go doc test2json`).
type event struct {
	Action     string
	Package    string
	ImportPath string // of build-output
	Test       string
	Output     string
}

// name identifies a test, or its package.
type name struct{ pkg, test string }

// report keeps each test's output until it is known whether anyone wants it.
type report struct {
	out      io.Writer
	output   map[name][]string
	skipped  []name
	reasons  map[name]string
	packages int
	failed   bool
}

func newReport(out io.Writer) *report {
	return &report{out: out, output: map[name][]string{}, reasons: map[name]string{}}
}

func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in) // not a Scanner: a test's output line may have any length
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			r.line(line)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) line(line []byte) {
	var e event
	if err := json.Unmarshal(line, &e); err != nil {
		r.print(string(line)) // not an event: whatever it is, show it
		return
	}
	n := name{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		r.print(e.Output)
	case "output":
		r.output[n] = append(r.output[n], e.Output)
	case "pass":
		r.done(n, closing)
	case "fail", "build-fail":
		r.failed = true
		r.done(n, always)
	case "skip":
		if e.Test == "" { // a package without tests
			delete(r.output, n)
			return
		}
		r.skipped = append(r.skipped, n)
		r.reasons[n] = reason(r.output[n])
		delete(r.output, n)
	}
}

// done shows the wanted lines of what a test or a package printed, and forgets them.
func (r *report) done(n name, wanted func(line string) bool) {
	if n.test == "" && n.pkg != "" {
		r.packages++
	}
	for _, line := range r.output[n] {
		if wanted(line) {
			r.print(line)
		}
	}
	delete(r.output, n)
}

func always(string) bool { return true }

// closing tells a package's own line from what its passed tests printed.
func closing(line string) bool { return strings.HasPrefix(line, "ok ") }

// reason is what the test said when it skipped: the last line that is not a
// frame of go test.
func reason(output []string) string {
	for _, line := range slices.Backward(output) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "---") && !strings.HasPrefix(line, "===") {
			return line
		}
	}
	return ""
}

// end prints the skipped tests and reports whether all is well.
func (r *report) end(strict bool) bool {
	if r.packages == 0 {
		r.failed = true
		r.print("gotest: no package was tested\n")
	}
	if len(r.skipped) == 0 {
		return !r.failed
	}
	slices.SortFunc(r.skipped, func(a, b name) int {
		return cmp.Or(cmp.Compare(a.pkg, b.pkg), cmp.Compare(a.test, b.test))
	})
	bar := strings.Repeat("#", 72) + "\n"
	r.print("\n" + bar + fmt.Sprintf("# SKIPPED: %d tests did not run, so what they prove is not proved here.\n#\n", len(r.skipped)))
	for _, n := range r.skipped {
		r.print(fmt.Sprintf("# %s %s\n#     %s\n", n.pkg, n.test, r.reasons[n]))
	}
	if strict {
		r.print("#\n# Skipping is not allowed here (-strict): this run FAILS.\n")
	}
	r.print(bar)
	return !r.failed && !strict
}

func (r *report) print(s string) { fmt.Fprint(r.out, s) }
