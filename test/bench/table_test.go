package main

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
)

func TestRatiosAreOfTheSameRun(t *testing.T) {
	t.Parallel()
	var got bytes.Buffer
	tab := &table{}
	for _, v := range []float64{100, 50, 10} { // the machine was disturbed twice, and both alike
		tab.add("ours", "messages/s", v*600)
		tab.add("theirs", "messages/s", v*1000)
	}
	tab.print(&got, []target{{figure: "ours", of: "theirs", least: 0.5}, {figure: "ours", most: 1}, {figure: "nobody's", least: 1}})
	for _, want := range []string{"30,000  6,000 – 60,000", "÷ theirs  0.60    0.60 – 0.60", "≥ 0.50: met", "≤ 1.00: not met"} {
		if !strings.Contains(got.String(), want) {
			t.Errorf("no %q in\n%s", want, got.String())
		}
	}
}

func TestAnswersAreReadOneAfterTheOther(t *testing.T) {
	t.Parallel()
	r := bufio.NewReader(strings.NewReader("HTTP/1.1 202 Accepted\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 503 x\r\nDate: now\r\n\r\n"))
	for _, want := range []int{202, 503} {
		if got, err := readAnswer(r); err != nil || got != want {
			t.Errorf("readAnswer = %d, %v; want %d", got, err, want)
		}
	}
	if _, err := readAnswer(r); err == nil {
		t.Error("an answer after the last one")
	}
}

func TestEnvelopesDifferInNumberAndNotInLength(t *testing.T) {
	t.Parallel()
	first, next := appendEnvelope(nil, 7, 0), appendEnvelope(nil, 7, 99_999_999)
	if bytes.Equal(first, next) || len(first) != len(next) || len(envelopeID(7, 0)) != 26 {
		t.Errorf("%s\n%s\n%s", first, next, envelopeID(7, 0))
	}
}
