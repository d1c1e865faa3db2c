package cli

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzTable: a file is rows that can be read twice alike, or one line that says
// what is wrong.
func FuzzTable(f *testing.F) {
	for _, seed := range []string{
		"phone,name\n0712345678,Asha\n", "\ufeffto;v\r\n+254712345678;\"a;b\"\r\n", "to\tname\n1\t2\n", "", "to", "to\n", "to,to\n1,2\n",
		"phone,name\n\"1,2\n3,4", "phone,name\n1\n", "to,name\n\xff,x\n", "\xff\xfet\x00o\x00", "to\r1\r2", "to,\"na\"\"me\"\n=cmd|x,@SUM(1)\n", "name\nx\n", "to,name\n,\n\n\n1,\x1b[2J\n",
	} {
		f.Add([]byte(seed), "Hi {{name}}")
	}
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		path := filepath.Join(t.TempDir(), "people.csv")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		tab, err := openTable(path, text, nil)
		if err != nil {
			oneClean(t, err)
			return
		}
		defer tab.close()
		rows, err := tab.count()
		if err != nil {
			oneClean(t, err)
			return
		}
		for n := 0; ; n++ {
			_, _, err := tab.next()
			if errors.Is(err, io.EOF) {
				if n != rows {
					t.Fatalf("%d rows, then %d", rows, n)
				}
				return
			}
			if err != nil {
				t.Fatalf("fine when it was counted: %v", err)
			}
		}
	})
}

// oneClean wants an error that a terminal can show in one line.
func oneClean(t *testing.T, err error) {
	t.Helper()
	if s := oneLine(err); s == "" || strings.ContainsAny(s, "\n\r\x1b") {
		t.Fatalf("%q", s)
	}
}
