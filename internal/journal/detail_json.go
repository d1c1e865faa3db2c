package journal

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

// Append appends the JSON of d to b, as encoding/json writes it but for the order
// of Each, which is by position. A gateway that names each message of its answer
// has a line for each here.
func (d *OutcomeDetail) Append(b []byte) []byte {
	b = slices.Grow(b, 192+80*len(d.Each))
	b = append(b, `{"time":"`...)
	b = d.Time.AppendFormat(b, time.RFC3339Nano)
	b = d.Default.append(append(b, `","all":`...))
	if len(d.Each) > 0 {
		b = append(b, `,"each":{`...)
		for i, pos := range slices.Sorted(maps.Keys(d.Each)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = strconv.AppendUint(append(b, '"'), uint64(pos), 10)
			b = d.Each[pos].append(append(b, `":`...))
		}
		b = append(b, '}')
	}
	for i, bill := range d.Bills {
		if i == 0 {
			b = append(b, `,"b":[`...)
		} else {
			b = append(b, ',')
		}
		b = bill.append(b)
	}
	if len(d.Bills) > 0 {
		b = append(b, ']')
	}
	return append(b, '}')
}

func (r MessageResult) append(b []byte) []byte {
	b = append(b, '{')
	b = appendText(b, `"s":`, string(r.Status))
	b = appendText(b, `"id":`, r.ProviderID)
	b = appendText(b, `"c":`, r.Code)
	b = appendText(b, `"pc":`, r.ProviderCode)
	b = appendText(b, `"d":`, r.Detail)
	b = appendNumber(b, `"n":`, r.Taken)
	b = appendNumber(b, `"b":`, r.Bill)
	return append(b, '}')
}

func (l Bill) append(b []byte) []byte {
	b = append(b, '{')
	b = appendNumber(b, `"n":`, l.Segments)
	b = appendText(b, `"k":`, l.Cost)
	b = appendText(b, `"o":`, l.Operator)
	return append(b, '}')
}

func appendText(b []byte, key, v string) []byte {
	if v == "" {
		return b
	}
	return envelope.AppendString(appendKey(b, key), v)
}

func appendNumber(b []byte, key string, v int) []byte {
	if v == 0 {
		return b
	}
	return strconv.AppendInt(appendKey(b, key), int64(v), 10)
}

func appendKey(b []byte, key string) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	return append(b, key...)
}
