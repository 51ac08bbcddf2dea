using System;
using System.Collections.Generic;
using System.Threading.Tasks;

namespace Homing
{
    /// <summary>The seat that the player has.</summary>
    public sealed class Joined
    {
        public readonly string Room, Class;
        public readonly long Seat, Hz, Epoch;
        /// <summary>Frames have bytes, not JSON.</summary>
        public readonly bool Binary;
        internal readonly string Ticket; // to come back with

        internal Joined(JsonValue m)
        {
            Room = m.StringOf("room");
            Class = m.StringOf("class");
            Seat = m.LongOf("seat");
            Hz = m.LongOf("hz");
            Epoch = m.LongOf("epoch");
            Binary = m.BoolOf("binary");
            Ticket = m.StringOf("ticket");
        }
    }

    /// <summary>The player is in the room no more.</summary>
    public sealed class Left
    {
        public readonly string Room;
        /// <summary>left, kicked, closed or replaced; or the code for which it could not join.</summary>
        public readonly string Why;
        /// <summary>Of closed: finished, idle, failed, stuck, lost or closed; else for people.</summary>
        public readonly string Reason;

        internal Left(string room, string why, string reason)
        {
            Room = room;
            Why = why;
            Reason = reason;
        }
    }

    /// <summary>
    /// The room that the player is in, on the client's one connection. It comes back to the seat
    /// after a loss and goes along when the room moves.
    /// </summary>
    public sealed class Room
    {
        enum Phase { None, Going, Joining, Seated }

        static readonly TimeSpan wanderPause = TimeSpan.FromMilliseconds(20);

        readonly HomingClient client;
        readonly HomingOptions options;
        readonly Requests requests;
        readonly Backoff backoff;
        readonly Dictionary<string, JsonValue> state = new Dictionary<string, JsonValue>();
        readonly Dictionary<string, byte[]> bytes = new Dictionary<string, byte[]>();
        Phase phase = Phase.None;
        string url = "", ticket = "", name = "";
        long read; // number of the last event
        int failed; // attempts in a row
        int sentOn; // since it has joined
        int turn; // counts joins, so that an answer to an older one is known
        bool leaving, first; // the next frame is a connection's first
        bool deaf; // what comes is of the room before
        TimeSpan? againAt; // to join again on this connection, or to follow
        TaskCompletionSource<Joined> joining;
        TaskCompletionSource<Left> going;

        internal Room(HomingClient client, HomingOptions options, Requests requests)
        {
            this.client = client;
            this.options = options;
            this.requests = requests;
            backoff = new Backoff(options.LongestWait, options.Clock.Random);
        }

        /// <summary>Also when the player has come back, or the room has moved.</summary>
        public event Action<Joined> Joined;
        public event Action<Frame> Frame;
        public event Action<Left> Left;
        /// <summary>Messages that the room did not take: why, and how many.</summary>
        public event Action<string, long> Refused;

        /// <summary>The seat, or null while the player has none or is on the way.</summary>
        public Joined Seat { get; private set; }

        /// <summary>The room's state as it is now. In binary rooms it is in Bytes.</summary>
        public IDictionary<string, JsonValue> State { get { return state; } }
        public IDictionary<string, byte[]> Bytes { get { return bytes; } }

        internal bool Wanted { get { return phase != Phase.None; } }
        internal TimeSpan? Due { get { return againAt; } }

        /// <summary>Where the room is: where it was last, or where the player came to first if that is gone.</summary>
        internal string Address
        {
            get { return Target.WithRoom(failed >= 2 && failed % 2 == 0 ? options.Url : url, ticket); }
        }

        /// <summary>
        /// Takes the seat. The task ends when it is taken, or with RequestException: the code of
        /// the refusal, as docs/protocol.md has it.
        /// </summary>
        public Task<Joined> Join(string url, string ticket)
        {
            return client.Locked(() =>
            {
                var mine = new TaskCompletionSource<Joined>();
                if (Target.Parse(url) == null) throw new ArgumentException("not a ws:// or wss:// address with a host", "url");
                EndJoining("replaced");
                this.url = url;
                this.ticket = ticket;
                joining = mine;
                name = "";
                read = 0;
                failed = sentOn = 0;
                leaving = false;
                deaf = true;
                state.Clear();
                bytes.Clear();
                Seat = null;
                againAt = null;
                turn++;
                phase = Phase.Going;
                backoff.Reset();
                if (!client.MoveLine()) End(new Left("", "closed", "the client is closed"));
                return mine.Task;
            });
        }

        /// <summary>
        /// Says something to the room: any JSON. Reports false, and does nothing, while the player
        /// has no seat: what it would say is not kept. Throws JsonException.
        /// </summary>
        public bool Say(string json)
        {
            var message = new JsonWriter().Add("t", "say").AddJson("data", json).ToString();
            return client.Locked(() => phase == Phase.Seated && client.SendLine(message));
        }

        /// <summary>Says bytes, which a room that is not binary wants to be JSON.</summary>
        public bool Say(byte[] data)
        {
            return client.Locked(() => phase == Phase.Seated && client.SendLine(data));
        }

        /// <summary>Gives the seat up. The task ends when the room has said so.</summary>
        public Task<Left> Leave()
        {
            return client.Locked(() =>
            {
                if (going != null) return going.Task;
                var mine = new TaskCompletionSource<Left>();
                going = mine;
                leaving = true;
                if (phase == Phase.None) client.Later(() => { going = null; mine.TrySetResult(new Left("", "left", "")); });
                else if (phase == Phase.Seated) SayLeave();
                return mine.Task;
            });
        }

        void SayLeave()
        {
            client.SendLine(new JsonWriter().Add("t", "leave").ToString());
        }

        internal void Step()
        {
            if (againAt == null || options.Clock.Now < againAt.Value) return;
            againAt = null;
            if (phase == Phase.Joining) SendJoin();
            else if (phase == Phase.Going) client.MoveLine();
        }

        internal void OnUp()
        {
            failed = 0;
            againAt = null;
            if (phase != Phase.None) SendJoin();
        }

        internal void OnDown()
        {
            if (phase == Phase.None) return;
            phase = Phase.Going;
            Seat = null;
            againAt = null;
            turn++;
        }

        internal void OnFailed() { failed++; }

        internal void OnClosed()
        {
            if (phase != Phase.None) End(new Left(name, "closed", "the client is closed"));
        }

        void SendJoin()
        {
            phase = Phase.Joining;
            int this_ = turn;
            var message = new JsonWriter().Add("t", "join").Add("ticket", ticket);
            if (read > 0) message.Add("n", read);
            requests.Send("join", message, m => { if (this_ == turn) Answered(m); }, code => { if (this_ == turn) Refuse(code, ""); });
        }

        void Answered(JsonValue m)
        {
            if (m.StringOf("t") == "joined") TakeJoined(m);
            else if (m.StringOf("t") == "moved") TakeMoved(m);
            else if (m.StringOf("t") == "left") TakeLeft(m);
        }

        /// <summary>Takes a message that is about the room; the answer to join comes here, too.</summary>
        internal void Take(string kind, JsonValue m)
        {
            if (phase == Phase.None || phase == Phase.Going && kind != "frame") return;
            switch (kind)
            {
                case "joined": TakeJoined(m); break;
                case "moved": TakeMoved(m); break;
                case "left": TakeLeft(m); break;
                case "frame": TakeFrame(Homing.Frame.OfJson(m)); break;
            }
        }

        internal void TakeBinary(byte[] frame)
        {
            if (phase != Phase.None) TakeFrame(Homing.Frame.OfBytes(frame));
        }

        /// <summary>Takes an error with "of" join, say or leave.</summary>
        internal void TakeError(string of, JsonValue m)
        {
            string code = m.StringOf("code");
            if (of == "join") Refuse(code, m.StringOf("reason"));
            else if (of == "say") client.Raise(() => { if (Refused != null) Refused(code, Math.Max(1, m.LongOf("count"))); });
            else if (of == "leave" && leaving && phase != Phase.Joining) End(new Left(name, "left", ""));
        }

        void TakeJoined(JsonValue m)
        {
            if (phase != Phase.Joining) return;
            var j = new Joined(m);
            phase = Phase.Seated;
            Seat = j;
            ticket = j.Ticket;
            name = j.Room;
            first = true;
            deaf = false;
            sentOn = 0;
            backoff.Reset();
            var mine = joining;
            joining = null;
            if (mine != null) client.Later(() => mine.TrySetResult(j));
            client.Raise(() => { if (Joined != null) Joined(j); });
            if (leaving) SayLeave();
        }

        void TakeMoved(JsonValue m)
        {
            if (leaving && phase == Phase.Seated) // the leave goes after the room
            {
                End(new Left(name, "left", ""));
                return;
            }
            url = m.StringOf("url");
            ticket = m.StringOf("ticket");
            turn++;
            phase = Phase.Going;
            var pause = Backoff.Min(TimeSpan.FromSeconds(1), Backoff.Times(wanderPause, Math.Max(0, ++sentOn - 2)));
            if (pause == TimeSpan.Zero) client.MoveLine();
            else againAt = options.Clock.Now + pause; // the room is on its way
        }

        void TakeLeft(JsonValue m)
        {
            End(new Left(m.StringOf("room"), m.StringOf("why"), m.StringOf("reason")));
        }

        void Refuse(string code, string reason)
        {
            if (phase != Phase.Joining || code == "lost") return;
            if (code == "unavailable" || code == "timeout" || code == "too_early")
            {
                turn++;
                againAt = options.Clock.Now + backoff.Next(Ending.Of(EndKind.Room, code), null, options.Clock.Now);
                return;
            }
            End(new Left(name, code, reason));
        }

        /// <summary>The way to the room is barred for good, as by a refusal.</summary>
        internal void Barred(Ending why) { if (phase == Phase.Going) End(new Left(name, "unreachable", why.ToString())); }

        void TakeFrame(Frame f)
        {
            if (deaf) return;
            if (first)
            {
                state.Clear();
                bytes.Clear();
                first = false;
            }
            f.Events.RemoveAll(e => e.N <= read);
            foreach (var e in f.Events) read = Math.Max(read, e.N);
            foreach (var s in f.State)
                if (s.Value.IsNull) state.Remove(s.Key);
                else state[s.Key] = s.Value;
            foreach (var s in f.Bytes)
                if (s.Value == null) bytes.Remove(s.Key);
                else bytes[s.Key] = s.Value;
            client.Raise(() => { if (Frame != null) Frame(f); });
        }

        void End(Left left)
        {
            phase = Phase.None;
            Seat = null;
            againAt = null;
            turn++;
            client.StayOnLine();
            EndJoining(left.Why);
            var mine = going;
            going = null;
            leaving = false;
            if (mine != null) client.Later(() => mine.TrySetResult(left));
            client.Raise(() => { if (Left != null) Left(left); });
        }

        void EndJoining(string code)
        {
            var mine = joining;
            joining = null;
            if (mine == null) return;
            Link.Forget(mine.Task);
            client.Later(() => mine.TrySetException(new RequestException("join", code)));
        }
    }
}
