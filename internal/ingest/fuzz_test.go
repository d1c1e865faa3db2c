package ingest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// FuzzLines: a body is its lines, however it arrives.
func FuzzLines(f *testing.F) {
	for _, seed := range []string{"", "\n", "a\nb", "a\r\nb\r\n", "\n\n\n", `{"to":"+254712345678"}` + "\n" + `{"to":`, "\x00\xff\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		want := bytes.SplitAfter(data, []byte("\n"))
		for name, r := range map[string]io.Reader{"at once": bytes.NewReader(data), "drop by drop": iotest.OneByteReader(bytes.NewReader(data))} {
			b := bufio.NewReaderSize(r, 16) // longer lines take several reads
			for i, w := range want {
				got, err := readLine(b)
				if !bytes.Equal(got, w) || got == nil {
					t.Fatalf("%s: line %d is %q, want %q", name, i+1, got, w)
				}
				if last := i == len(want)-1; last != errors.Is(err, io.EOF) {
					t.Fatalf("%s: line %d of %d: %v", name, i+1, len(want), err)
				}
			}
		}
	})
}
