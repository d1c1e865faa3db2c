package bus

import (
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tuma-sms/tuma/pkg/envelope"
)

// Names of the streams that there is one of.
const (
	JournalStream  = "SMS_JOURNAL"
	DelayStream    = "SMS_DELAY"
	CallbackStream = "SMS_CALLBACKS"
	EventStream    = "SMS_EVENTS"
	InboundStream  = "SMS_INBOUND"
	DeadStream     = "SMS_DEAD"
	AccountStream  = "SMS_ACCOUNTS"
	OptOutStream   = "SMS_OPTOUTS"

	CheckpointStream  = "SMS_CHECKPOINT"
	CheckpointSubject = "sms.checkpoint.journal"
)

// CheckpointPart is the subject of a checkpoint's part i, if it is too large for
// one message.
func CheckpointPart(i int) string { return "sms.checkpoint.part." + strconv.Itoa(i) }

// SubmitStream is the stream of what a tenant publishes.
func SubmitStream(tenant string) string { return "SMS_SUBMIT_" + tenant }

// QueueStream is the stream of what waits for an account.
func QueueStream(account string) string { return "SMS_QUEUE_" + account }

// Subjects. Tenants and accounts are [a-z0-9-]{1,32}, so they are safe tokens.

// SubmitSubject is where clients publish: theirs to use.
func SubmitSubject(tenant, priority string) string { return "sms.submit." + tenant + "." + priority }

// AcceptedSubject is where ingest stores whole submissions that it has already
// accepted over HTTP, in the tenant's stream; tenants have no rights on it.
func AcceptedSubject(tenant, priority string) string {
	return "sms.accepted." + tenant + "." + priority
}

// HeaderSkip marks what only takes a sequence of its stream: it is no message.
const HeaderSkip = "Tuma-Skip"

// SkipSubject is a subject of an account's queue that no lane reads: no tenant has
// such a name.
func SkipSubject(account string) string {
	return QueueSubject(account, string(envelope.Bulk), "_")
}

// QueueSubject is a lane of an account's queue.
func QueueSubject(account, priority, tenant string) string {
	return "sms.queue." + account + "." + priority + "." + tenant
}

// DueSubmitSubject is where submissions come out of the delay stream.
func DueSubmitSubject(tenant, priority string) string {
	return "sms.due.submit." + tenant + "." + priority
}

// DueQueueSubject is where pieces that wait for a retry come out.
func DueQueueSubject(account, priority, tenant string) string {
	return "sms.due.queue." + account + "." + priority + "." + tenant
}

// EventSubject carries what became of messages.
func EventSubject(tenant, status string) string { return "sms.event." + tenant + "." + status }

// InboundSubject carries messages from handsets.
func InboundSubject(tenant, account string) string { return "sms.inbound." + tenant + "." + account }

// DeadSubject carries dead letters; account is "none" before routing.
func DeadSubject(account, reason string) string { return "sms.dead." + account + "." + reason }

// CallbackSubject carries raw callbacks; kind is dlr or inbound.
func CallbackSubject(account, kind string) string { return "sms.callback." + account + "." + kind }

// AccountSubject carries what happened to an account itself: paused, balance_low,
// campaign, webhook.
func AccountSubject(account, kind string) string { return "sms.account." + account + "." + kind }

// OptOutSubject is where one number's opt-out from an account is kept. The number
// itself is not in it: subjects are logged and counted.
func OptOutSubject(account, hash string) string { return "sms.optout." + account + "." + hash }

// DeskSubject is where a collector is asked to run an operation at an account's
// gateway. Nothing on it is stored.
func DeskSubject(account string) string { return "sms.desk." + account }

// JournalSubject carries the journal.
func JournalSubject(kind, account string) string {
	if account == "" {
		account = "all"
	}
	return "sms.journal." + kind + "." + account
}

const day = 24 * time.Hour

// fixed are the streams that there is one of, as data.
var fixed = []jetstream.StreamConfig{
	{Name: DelayStream, Subjects: []string{"sms.delay.>", "sms.due.>"}, Retention: jetstream.WorkQueuePolicy,
		AllowMsgSchedules: true, AllowMsgTTL: true, AllowDirect: true, Duplicates: 2 * time.Minute},
	{Name: JournalStream, Subjects: []string{"sms.journal.>"}, MaxAge: 192 * time.Hour, Discard: jetstream.DiscardNew,
		AllowDirect: true, Duplicates: 2 * time.Minute},
	{Name: CallbackStream, Subjects: []string{"sms.callback.>"}, MaxAge: 168 * time.Hour, Duplicates: 2 * time.Minute},
	{Name: EventStream, Subjects: []string{"sms.event.>"}, MaxAge: 7 * day, Duplicates: 2 * time.Minute},
	{Name: InboundStream, Subjects: []string{"sms.inbound.>"}, MaxAge: 7 * day, Duplicates: 2 * time.Minute},
	{Name: DeadStream, Subjects: []string{"sms.dead.>"}, MaxAge: 30 * day, Duplicates: 2 * time.Minute, AllowDirect: true},
	{Name: AccountStream, Subjects: []string{"sms.account.>"}, MaxAge: 7 * day, Duplicates: 2 * time.Minute},
	{Name: OptOutStream, Subjects: []string{"sms.optout.>"}, MaxMsgsPerSubject: 1}, // no age: an opt-out holds until it is taken back
}

// checkpointConfig keeps the last two: they have no age, as a journal may stand
// still for longer than anything else is kept. Without direct reads it is the
// leader who answers: a replica that lags behind would say that there is none, and
// what only checkpoints know (an account paused a month ago) would be forgotten.
var checkpointConfig = jetstream.StreamConfig{
	Name: CheckpointStream, Subjects: []string{"sms.checkpoint.>"}, MaxMsgsPerSubject: 2,
}

// submitConfig lists the priorities, so that a subject that no consumer reads
// (sms.submit.acme.urgent) is refused to its publisher instead of kept unread.
// It never allows schedules, roll-ups, TTLs or atomic batches: a
// tenant may publish here, and each of those lets a publisher purge or forge.
func submitConfig(tenant string) jetstream.StreamConfig {
	var subjects []string
	for _, p := range envelope.Priorities {
		subjects = append(subjects, SubmitSubject(tenant, string(p)), AcceptedSubject(tenant, string(p)))
	}
	return jetstream.StreamConfig{
		Name: SubmitStream(tenant), Subjects: subjects,
		Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew, AllowDirect: true, Duplicates: 2 * time.Minute, DenyPurge: false,
	}
}

// queueConfig keeps messages after their ack: reports are matched by reading
// them back. 168 h are 72 of expiry, 72 of waiting for a report, 24 to spare. It
// lists the priorities for the same reason as submitConfig.
func queueConfig(account string) jetstream.StreamConfig {
	var subjects []string
	for _, p := range envelope.Priorities {
		subjects = append(subjects, QueueSubject(account, string(p), "*"))
	}
	return jetstream.StreamConfig{
		Name: QueueStream(account), Subjects: subjects, MaxAge: 168 * time.Hour,
		Discard: jetstream.DiscardNew, AllowDirect: true, Duplicates: 2 * time.Minute,
	}
}
