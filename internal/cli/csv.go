package cli

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

// table is a CSV file with a header row. It is read twice: once to find every
// mistake and count the rows before anything is sent, once to send.
type table struct {
	name string
	file *os.File
	r    *csv.Reader
	row  *rowReader
	to   int            // column of the number
	vars map[string]int // columns that the text uses

	header []string
}

// openTable opens path, - for standard input, and reads its header. Columns that
// the text does not use are not sent.
func openTable(path, text string, stdin io.Reader) (*table, error) {
	t := &table{name: path}
	var err error
	if path == "-" {
		t.name = "standard input"
		t.file, err = spool(stdin)
	} else {
		t.file, err = os.Open(path)
	}
	if err != nil {
		return nil, err
	}
	if err = t.rewind(); err == nil {
		err = t.columns(envelope.Placeholders(text))
	}
	if err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// spool keeps a stream in a file without a name, since it is read twice.
func spool(r io.Reader) (*os.File, error) {
	f, err := os.CreateTemp("", "tuma-*.csv")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err == nil {
		_, err = io.Copy(f, r)
		if err == nil {
			return f, nil
		}
	}
	f.Close()
	return nil, fmt.Errorf("reading standard input: %w", err)
}

func (t *table) close() { t.file.Close() }

// rewind goes to the first row after the header.
func (t *table) rewind() error {
	if _, err := t.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("%s cannot be read twice: %w", t.name, err)
	}
	t.row = &rowReader{r: t.file, left: maxRow}
	in := bufio.NewReaderSize(t.row, readAhead)
	if bom, _ := in.Peek(3); string(bom) == "\ufeff" {
		_, _ = in.Discard(3) // they are there: Peek saw them
	}
	t.r = csv.NewReader(in)
	t.r.Comma = separator(in)
	t.r.ReuseRecord = true
	row, err := t.r.Read()
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s is empty: its first row names the columns", t.name)
	}
	if err != nil {
		return t.explain(err)
	}
	t.header = t.header[:0]
	for _, h := range row {
		t.header = append(t.header, strings.TrimSpace(h))
	}
	if head := strings.Join(row, ""); !utf8.ValidString(head) {
		return t.notUTF8(1)
	} else if strings.ContainsRune(head, '\r') {
		return fmt.Errorf("%s, line 1: its lines end in carriage returns alone; save the file as CSV with line feeds", t.name)
	}
	return nil
}

const (
	maxRow    = 4 << 20  // more than an envelope may have in all variables
	readAhead = 64 << 10 // of the file, at once
)

var errRow = errors.New("a row is longer than 4 MiB; is a quote not closed?")

// rowReader lets no row make the reader keep more than maxRow of it.
type rowReader struct {
	r    io.Reader
	left int
}

// Read implements io.Reader.
func (r *rowReader) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, errRow
	}
	n, err := r.r.Read(p)
	r.left -= n
	return n, err
}

// separator looks at the header: spreadsheets of many countries write ; and
// those who paste write tabs.
func separator(in *bufio.Reader) rune {
	head, _ := in.Peek(4096)
	line, _, _ := strings.Cut(string(head), "\n")
	if !strings.Contains(line, ",") {
		for _, c := range ";\t" {
			if strings.ContainsRune(line, c) {
				return c
			}
		}
	}
	return ','
}

func (t *table) columns(names []string) error {
	column := map[string]int{}
	for i, h := range t.header {
		if _, twice := column[h]; twice && h != "" {
			return fmt.Errorf("%s has two columns %q", t.name, clean(h))
		}
		column[h] = i
	}
	t.to = t.numberColumn()
	if t.to < 0 {
		return fmt.Errorf("%s has no column to or phone; it has %s", t.name, t.list())
	}
	t.vars = map[string]int{}
	for _, n := range names {
		i, ok := column[n]
		if !ok {
			return fmt.Errorf("the text uses {{%s}}, and %s has no such column; it has %s", n, t.name, t.list())
		}
		t.vars[n] = i
	}
	return nil
}

func (t *table) numberColumn() int {
	for _, name := range []string{"to", "phone"} {
		if i := slices.IndexFunc(t.header, func(h string) bool { return strings.EqualFold(h, name) }); i >= 0 {
			return i
		}
	}
	return -1
}

func (t *table) list() string { return clean(strings.Join(t.header, ", ")) }

// count reads all rows; its error names the first line that is wrong.
func (t *table) count() (rows int, err error) {
	for {
		_, _, err := t.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
		rows++
	}
	if rows == 0 {
		return 0, fmt.Errorf("%s has no row below its header", t.name)
	}
	return rows, t.rewind()
}

// next returns the next recipient and the line that it begins on; io.EOF at the end.
func (t *table) next() (envelope.Recipient, int, error) {
	t.row.left = maxRow
	row, err := t.r.Read()
	if err != nil {
		if !errors.Is(err, io.EOF) {
			err = t.explain(err)
		}
		return envelope.Recipient{}, 0, err
	}
	line, _ := t.r.FieldPos(0)
	r := envelope.Recipient{To: strings.TrimSpace(row[t.to])}
	if len(t.vars) > 0 {
		r.Variables = make(map[string]string, len(t.vars))
	}
	for name, i := range t.vars {
		if !utf8.ValidString(row[i]) {
			return r, line, t.notUTF8(line)
		}
		r.Variables[name] = row[i]
	}
	if !utf8.ValidString(r.To) {
		return r, line, t.notUTF8(line)
	}
	return r, line, nil
}

func (t *table) notUTF8(line int) error {
	return fmt.Errorf("%s, line %d: not UTF-8; save the file as CSV with encoding UTF-8", t.name, line)
}

// explain puts the reader's errors into words that name the line to look at.
func (t *table) explain(err error) error {
	var pe *csv.ParseError
	if !errors.As(err, &pe) {
		return fmt.Errorf("%s: %w", t.name, err)
	}
	switch {
	case errors.Is(pe.Err, csv.ErrFieldCount):
		return fmt.Errorf("%s, line %d: the number of columns is not the header's %d", t.name, pe.StartLine, len(t.header))
	case errors.Is(pe.Err, csv.ErrQuote) && pe.Line > pe.StartLine:
		return fmt.Errorf("%s, line %d: a quote that opens here is not closed, or closed on line %d before the field ends", t.name, pe.StartLine, pe.Line)
	case errors.Is(pe.Err, csv.ErrQuote):
		return fmt.Errorf("%s, line %d: a quote is not closed, or closed before the field ends", t.name, pe.StartLine)
	case errors.Is(pe.Err, csv.ErrBareQuote):
		return fmt.Errorf("%s, line %d: a quote within a field that does not begin with one", t.name, pe.Line)
	}
	return fmt.Errorf("%s, line %d: %w", t.name, pe.Line, pe.Err)
}
