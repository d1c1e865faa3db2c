package badinput

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// rows is how many kinds of bad input there are: 1 to 52 come to the API, 53 to 67
// over the bus, 68 to 82 as gateways' answers, 83 to 96 as their callbacks, 97 in the
// config and from the machine, 98 on the command line.
const rows = 98

// proof names a test that would fail if the protection against a row were taken out.
type proof struct {
	row  int
	test string // folder and name
}

// proofs are those that are no rows of a table in this package: stories of the
// whole program, and what only a package alone can show.
func proofs() []proof {
	return []proof{
		{3, "test/badinput TestTwoGigabytes"}, {3, "test/badinput TestEndlessLine"},
		{4, "internal/service TestSlowClientsAreCutOff"}, {4, "test/badinput TestSlowBodies"},
		{12, "pkg/envelope TestCheckText"}, {15, "pkg/envelope TestCheckSender"}, {16, "internal/ingest TestNumbersAreNormalised"},
		{20, "internal/dispatch TestNeverOneNumberTwiceInARequest"}, {20, "test/badinput TestOneNumberInAllItsForms"}, {21, "test/badinput TestOneNumberInAllItsForms"},
		{23, "test/badinput TestTextsAsTyped"}, {24, "test/badinput TestTextsAsTyped"}, {23, "pkg/providers/smsbox TestArrivesAsMeant"}, {23, "pkg/providers/bulksmsrates TestArrivesAsMeant"},
		{33, "test/badinput TestKeyOfAnotherBody"}, {33, "internal/ingest TestKeyInProgress"},
		{36, "test/security TestTenantHeaders"}, {46, "internal/ingest TestAuthentication"},
		{47, "internal/ingest TestTenantsRights"}, {47, "test/security TestTenantsKnowNothingOfEachOther"},
		{48, "internal/cli TestCSVMistakesSendNothing"}, {48, "internal/cli TestCSVShapes"},
		{49, "internal/ingest TestCutBodyIsNotTaken"}, {49, "internal/ingest TestClientLeavesDuringItsClaim"},
		{50, "test/badinput TestManyAtOnce"}, {50, "internal/ingest TestRateOfATenant"}, {50, "internal/service TestConnectionsAreBounded"},
		{56, "test/badinput TestForgedTenant"}, {56, "internal/ingest TestTakenTwiceIsTakenOnce"}, {56, "test/security TestTenantOnTheBus"}, {57, "test/badinput TestMessageIDOfAnotherBody"},
		{58, "test/badinput TestRubbishOnTheBus"}, {59, "internal/ingest TestPanicIsBuried"}, {59, "internal/dispatch TestAdapterThatPanicsIsUncertain"},
		{60, "test/badinput TestHandsOnTheBus"}, {60, "internal/dispatch TestQueueMadeAnewIsNotTakenForTheOldOne"}, {60, "internal/journal TestStreamThatFellBackIsLedOn"},
		{61, "test/badinput TestHandsOnTheBus"}, {62, "test/badinput TestHandsOnTheBus"}, {62, "internal/bus TestConsumerChangedByHandIsMadeAnew"}, {62, "internal/bus TestStreamThatCannotBePutRightIsRefused"},
		{63, "internal/dispatch TestExpiredNeverLeaves"}, {65, "internal/bus TestSlowReaderMissesNothing"},
		{67, "test/badinput TestHandsOnTheBus"}, {67, "internal/journal TestUnreadableRecordStopsNobody"}, {67, "internal/journal TestDamagedCheckpointIsPassedOver"},
		{69, "pkg/providers/smsbox TestStatusAndCode"}, {70, "pkg/providers/smsbox TestDecode"}, {75, "pkg/providers/cloudrebue TestMatch"},
		{76, "pkg/providers/httpapi TestRetryAfter"}, {77, "pkg/providers/httpapi TestDoAnswers"}, {78, "pkg/providers/httpapi TestDoBadCertificate"},
		{80, "test/badinput TestBadAnswers"}, {81, "test/badinput TestTakenAndDropped"}, {81, "internal/dlr TestMissingReportIsTold"},
		{82, "test/security TestCanaries"},
		{83, "test/badinput TestForgedAndRepeated"}, {84, "test/badinput TestForgedAndRepeated"}, {85, "test/badinput TestForgedAndRepeated"},
		{86, "internal/dlr TestSignatureStandsForTheToken"}, {86, "pkg/providers/bulksmsrates TestVerify"}, {87, "pkg/providers/bulksmsrates TestVerify"}, {88, "internal/dlr TestSignatureStandsForTheToken"},
		{89, "internal/dlr TestReportOnNothingWaitsForItsMessage"}, {90, "internal/dlr TestUnknownWordChangesNothing"}, {90, "internal/dlr TestRepetitionsChangeNothingAndDeliveredCorrects"},
		{91, "test/badinput TestRubbishFromGateways"}, {91, "internal/dlr TestDigitalServices"}, {92, "test/badinput TestGuesses"},
		{93, "test/security TestCanaries"}, {93, "internal/dlr TestNoSecretNumberOrTextInLogs"}, {94, "internal/dlr TestBadCallbacksAreNotStored"},
		{95, "internal/dlr TestStormIsBounded"}, {95, "internal/dlr TestUnprovedCallersHaveTheirOwnRoom"}, {95, "internal/service TestConnectionsAreBounded"},
		{96, "test/badinput TestTimesOfGateways"},
		{97, "test/e2e TestBadStart"}, {97, "test/badinput TestSmallMachine"}, {97, "internal/app TestCheckWarnsOfSecretsThatAllMayRead"}, {97, "internal/config TestResolve"},
		{98, "test/badinput TestOutputThatFails"}, {98, "test/badinput TestReaderThatHasGone"}, {98, "internal/cli TestClean"}, {98, "internal/cli TestDeadPageByPage"}, {98, "internal/cli TestStatus"},
		{98, "internal/cli TestWatchGoesOnWhereItBrokeOff"}, {98, "internal/cli TestAnswerThatIsNotTuma"}, {98, "internal/ingest TestReplayTwiceIsOnce"},
	}
}

// fuzzed says which target feeds each of the parsers that read what others wrote.
func fuzzed() map[string][]string {
	list := map[string][]string{
		"submission": {"pkg/envelope FuzzDecode", "internal/ingest FuzzSubmission", "internal/ingest FuzzObject"}, "NDJSON": {"internal/ingest FuzzLines"}, "CSV": {"internal/cli FuzzTable"},
		"numbers": {"internal/ingest FuzzNormalise"}, "segments": {"pkg/envelope FuzzMeasure"}, "variables": {"pkg/envelope FuzzRender"},
		"what lies on the bus": {"pkg/envelope FuzzDecodePiece", "internal/dlr FuzzStoredCallback", "internal/bus FuzzAck"},
		"HMAC header":          {"pkg/providers/bulksmsrates FuzzVerify"}, "Retry-After": {"pkg/providers/httpapi FuzzRetryAfter"}, "config": {"internal/config FuzzParse"},
		"journal":          {"pkg/idempotency FuzzDecodeRecord", "pkg/idempotency FuzzRecord", "pkg/idempotency FuzzCheckpoint"},
		"callback URLs":    {"internal/dlr FuzzBatchOf", "internal/journal FuzzParseBatchID"},
		"inbound, notices": {"pkg/providers/smsbox FuzzInbound", "pkg/providers/bulksmsrates FuzzLenient"},
		"look-ups":         {"pkg/providers/smsscheduler FuzzFind", "pkg/providers/bulksmsrates FuzzLenient"},
	}
	for _, typ := range []string{"cloudrebue", "smsbox", "bulksmsrates", "digitalservices", "smsscheduler"} {
		list["answers of "+typ] = []string{"pkg/providers/" + typ + " FuzzSend"}
		if typ != "smsscheduler" { // it has none
			list["callbacks of "+typ] = []string{"pkg/providers/" + typ + " FuzzReports"}
		}
	}
	return list
}

// Every parser of what others wrote has a fuzz target.
func TestEveryParserIsFuzzed(t *testing.T) {
	t.Parallel()
	for parser, targets := range fuzzed() {
		for _, target := range targets {
			folder, name, _ := strings.Cut(target, " ")
			if !slices.Contains(testsIn(t, folder), name) {
				t.Errorf("%s: there is no %s", parser, target)
			}
		}
	}
}

// Every kind of bad input has a test that exists.
func TestEveryRow(t *testing.T) {
	t.Parallel()
	covered := map[int]int{}
	for _, s := range append(submissions(), harmless()...) {
		covered[s.row]++
	}
	for _, r := range rawRequests() {
		covered[r.row]++
	}
	for _, r := range apiRequests() {
		covered[r.row]++
	}
	for _, m := range busMessages() {
		covered[m.row]++
	}
	for _, a := range badAnswers() {
		covered[a.row]++
	}
	for _, c := range callbacks() {
		covered[c.row]++
	}
	for _, c := range badConfigs() {
		covered[c.row]++
	}
	for _, c := range commands() {
		covered[c.row]++
	}
	tests := map[string][]string{}
	for _, p := range proofs() {
		folder, name, _ := strings.Cut(p.test, " ")
		if tests[folder] == nil {
			tests[folder] = testsIn(t, folder)
		}
		if !slices.Contains(tests[folder], name) {
			t.Errorf("row %d: there is no test %s", p.row, p.test)
		}
		covered[p.row]++
	}
	for row := range covered {
		if row < 1 || row > rows {
			t.Errorf("there is no row %d", row)
		}
	}
	for row := 1; row <= rows; row++ {
		if covered[row] == 0 {
			t.Errorf("nothing proves row %d", row)
		}
	}
}

// testsIn lists the tests and fuzz targets of a folder.
func testsIn(t *testing.T, folder string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, src, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && (strings.HasPrefix(fn.Name.Name, "Test") || strings.HasPrefix(fn.Name.Name, "Fuzz")) {
				names = append(names, fn.Name.Name)
			}
		}
	}
	return names
}
