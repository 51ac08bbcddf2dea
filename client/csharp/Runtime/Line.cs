using System;

namespace Homing
{
    /// <summary>What a client is doing.</summary>
    public enum ClientState
    {
        /// <summary>It asks for a token, connects, and waits for hello.</summary>
        Connecting,
        /// <summary>It is connected, and is told what it missed, or waits for a server that cannot say now.</summary>
        Recovering,
        /// <summary>It is connected and has caught up.</summary>
        Open,
        /// <summary>It waits before it connects again.</summary>
        Waiting,
        /// <summary>It has not begun, or it will not connect any more by itself.</summary>
        Closed,
    }

    /// <summary>Who hears what happens on a Line. All is called by whoever polls.</summary>
    interface ILineOwner
    {
        /// <summary>The address of the next attempt.</summary>
        string Address { get; }
        /// <summary>Nothing more is to be read for now.</summary>
        bool Full { get; }
        /// <summary>Nothing is under way that a polite end should wait for.</summary>
        bool ReadyToLeave { get; }
        void OnDial();
        void OnUp(Hello hello);
        /// <summary>Deals with a message; what it returns ends the connection, null does not.</summary>
        Ending OnMessage(string kind, JsonValue message);
        Ending OnBinary(byte[] message);
        /// <summary>A connection that was up is no more.</summary>
        void OnDown();
        /// <summary>The last moment to send before good-bye.</summary>
        void OnLeave();
        /// <summary>An attempt has failed, or a connection was lost, and another attempt follows.</summary>
        void OnWaiting(Ending why, TimeSpan pause);
        void OnClosed(Ending why);
        /// <summary>A move to another address has failed; for good when it is not tried again.</summary>
        void OnMoveFailed(Ending why, bool forGood);
        void OnProblem(Exception problem);
    }

    /// <summary>
    /// Keeps a connection to a front: connects, again after every loss, as docs/protocol.md says
    /// under "Reconnecting", until it is told to leave or the server refuses for good. It moves to
    /// another front without a gap. It does nothing but when it is stepped, and has no timers.
    /// </summary>
    sealed class Line
    {
        enum Phase { Closed, Connecting, Up, Waiting, Leaving }

        static readonly TimeSpan lastWords = TimeSpan.FromSeconds(2); // a connection that takes no more bytes is still read
        static readonly TimeSpan pingGrace = TimeSpan.FromSeconds(15);
        static readonly TimeSpan drainTime = TimeSpan.FromSeconds(1); // of the old connection after a move

        readonly HomingOptions options;
        readonly Clock clock;
        readonly ILineOwner owner;
        readonly Action wake;
        readonly Backoff backoff, moveBackoff;

        Phase phase = Phase.Closed;
        Attempt attempt; // while connecting, or while up and moving
        Link link; // while up or leaving
        Uri address; // of the last attempt
        Uri sentTo; // of the next one; null: the owner's
        bool strays; // the last attempt went where the server has sent the client
        TimeSpan due, leaveBy, upAt, pingedAt, silence;
        TimeSpan? moveAt, drainBy; // when to try to move; until when the old connection is read
        Reconnect hint;
        int refused; // tokens in a row
        bool saidClose, offline, named; // the server has said how long to wait

        internal Line(HomingOptions options, ILineOwner owner, Action wake)
        {
            this.options = options;
            this.owner = owner;
            this.wake = wake;
            clock = options.Clock;
            backoff = new Backoff(options.LongestWait, clock.Random);
            moveBackoff = new Backoff(options.LongestWait, clock.Random);
        }

        /// <summary>What is sent now is sent.</summary>
        internal bool Up { get { return phase == Phase.Up && drainBy == null; } }
        internal bool Ended { get { return phase == Phase.Closed; } }
        /// <summary>Something has come that was not taken because the owner was full.</summary>
        internal bool More { get { return phase == Phase.Up && link != null && link.Waits; } }

        internal void Start()
        {
            if (!Ended) return;
            refused = 0;
            backoff.Reset();
            Begin();
        }

        /// <summary>Sends JSON text when it is up, or just before good-bye; else it is dropped.</summary>
        internal void Send(string text)
        {
            if (Up || phase == Phase.Leaving) link.Send(new Received(text));
        }

        internal void Send(byte[] bytes)
        {
            if (Up) link.Send(new Received(bytes));
        }

        /// <summary>
        /// Goes to the owner's address, which has changed: at once, and when there is a connection
        /// without letting go of it before the new one has its hello.
        /// </summary>
        internal void Move()
        {
            if (phase == Phase.Closed || phase == Phase.Leaving) return;
            sentTo = null;
            moveBackoff.Reset();
            if (drainBy != null) return; // OnUp of the new connection moves on from there
            DropAttempt();
            if (phase == Phase.Up) moveAt = clock.Now;
            else if (phase == Phase.Connecting) Begin(); // who waits goes there when the time has come
        }

        /// <summary>Does not move any more.</summary>
        internal void Stay()
        {
            if (phase != Phase.Up || drainBy != null) return;
            moveAt = null;
            DropAttempt();
        }

        /// <summary>Whether the system has a network: without one no attempt is made.</summary>
        internal void Network(bool there)
        {
            if (there && offline && phase == Phase.Waiting && !named)
                due = Backoff.Min(due, clock.Now + Backoff.Times(Backoff.FirstPause, clock.Random()));
            offline = !there;
        }

        /// <summary>Cuts the connection, as a lost network does.</summary>
        internal void Cut()
        {
            if (link != null) link.Abort();
        }

        /// <summary>Says good-bye, within CloseTimeout.</summary>
        internal void Leave()
        {
            if (phase == Phase.Closed || phase == Phase.Leaving) return;
            if (link == null || options.CloseTimeout <= TimeSpan.Zero)
            {
                Abort();
                return;
            }
            DropAttempt();
            phase = Phase.Leaving;
            saidClose = drainBy != null;
            drainBy = moveAt = null;
            leaveBy = clock.Now + options.CloseTimeout;
            link.Discard();
        }

        /// <summary>Ends everything at once.</summary>
        internal void Abort()
        {
            if (!Ended) Finish(Ending.Of(EndKind.Left, "the application has left"));
        }

        void Finish(Ending why)
        {
            bool wasUp = link != null;
            DropAttempt();
            if (wasUp) link.Abort();
            link = null;
            drainBy = moveAt = null;
            phase = Phase.Closed;
            if (wasUp) owner.OnDown();
            owner.OnClosed(why);
        }

        void DropAttempt()
        {
            if (attempt != null) attempt.Abort();
            attempt = null;
        }

        internal void Step()
        {
            switch (phase)
            {
                case Phase.Connecting: StepConnecting(); break;
                case Phase.Up: StepUp(); break;
                case Phase.Leaving: StepLeaving(); break;
                case Phase.Waiting:
                    if (!offline && clock.Now >= due) Begin();
                    break;
            }
        }

        /// <summary>When it wants to be stepped next although nothing has come, or null.</summary>
        internal TimeSpan? Due
        {
            get
            {
                switch (phase)
                {
                    case Phase.Connecting: return attempt.Due;
                    case Phase.Waiting: return offline ? (TimeSpan?)null : due;
                    case Phase.Leaving: return leaveBy;
                    case Phase.Up: return Earliest(Earliest(SilentAt(), WriteLateAt()), Earliest(drainBy, attempt != null ? attempt.Due : moveAt));
                    default: return null;
                }
            }
        }

        internal static TimeSpan? Earliest(TimeSpan? a, TimeSpan? b)
        {
            if (a == null || b == null) return a ?? b;
            return a.Value < b.Value ? a : b;
        }

        // Connecting

        void Begin()
        {
            hint = null;
            phase = Phase.Connecting;
            Dial();
            owner.OnDial();
            if (phase == Phase.Connecting) StepConnecting();
        }

        void Dial()
        {
            address = sentTo ?? Target.Parse(owner.Address);
            strays = sentTo != null;
            sentTo = null;
            attempt = new Attempt(options, address, wake);
            if (phase == Phase.Closed || phase == Phase.Leaving) DropAttempt(); // the token function has left
        }

        void StepConnecting()
        {
            attempt.Step();
            if (attempt.Failed != null)
            {
                var why = attempt.Failed;
                attempt = null;
                // Elsewhere it says nothing of what comes of the next attempt, at home.
                Down(strays ? Ending.Of(EndKind.Lost, "where the server has sent the client: " + why) : Judge(why));
            }
            else if (attempt.Hello != null) BeUp();
        }

        /// <summary>Counts refused tokens, and gives up once they are too many.</summary>
        Ending Judge(Ending why)
        {
            if (!why.IsTokenRefused || ++refused < Math.Max(1, options.TokenTries)) return why;
            return why.Spent();
        }

        void BeUp()
        {
            var hello = attempt.Hello;
            link = attempt.Take();
            attempt = null;
            phase = Phase.Up;
            refused = 0;
            hint = null;
            drainBy = moveAt = null;
            upAt = pingedAt = clock.Now;
            silence = options.Silence != TimeSpan.Zero ? options.Silence : hello.Ping > TimeSpan.Zero ? hello.Ping + pingGrace : TimeSpan.Zero;
            owner.OnUp(hello);
            if (phase == Phase.Up) StepUp();
        }

        // Moving

        void StepMove()
        {
            if (attempt == null)
            {
                if (moveAt == null || clock.Now < moveAt.Value) return;
                moveAt = null;
                Dial();
                if (attempt == null) return;
            }
            attempt.Step();
            if (attempt.Failed != null)
            {
                var why = Judge(attempt.Failed);
                attempt = null;
                if (!why.Permanent) moveAt = clock.Now + moveBackoff.Next(why, null, clock.Now);
                owner.OnMoveFailed(why, why.Permanent);
            }
            else if (attempt.Hello != null && drainBy == null)
            {
                drainBy = clock.Now + drainTime;
                link.SayClose(1000); // what the server has sent before it reads this is still taken
            }
        }

        /// <summary>Goes over to the new connection once the old one has been read to its end.</summary>
        void Switch()
        {
            link.Abort();
            link = null;
            owner.OnDown();
            if (phase == Phase.Up) BeUp();
        }

        // Connected

        void StepUp()
        {
            Received m;
            while (phase == Phase.Up && !owner.Full && link.TryTake(out m))
            {
                var why = Take(m);
                if (why != null && phase == Phase.Up && drainBy == null) Down(why);
            }
            if (phase != Phase.Up) return;
            if (drainBy != null)
            {
                if (link.End != null || clock.Now >= drainBy.Value) Switch();
                return;
            }
            if (link.End != null) Down(link.End);
            else if (WriteLateAt() <= clock.Now) Down(Ending.Of(EndKind.Lost, "the connection takes no more bytes"));
            else if (silence > TimeSpan.Zero && clock.Now >= link.HeardAt + silence) Down(Ending.Of(EndKind.Lost, "no sign of life of the server"));
            else
            {
                if (PingAt() <= clock.Now)
                {
                    pingedAt = clock.Now;
                    Send("{\"t\":\"ping\"}");
                }
                StepMove();
            }
        }

        TimeSpan? WriteLateAt()
        {
            if (link.FailedAt != null) return link.FailedAt.Value + lastWords;
            return link.WritingSince + options.WriteTimeout;
        }

        TimeSpan? SilentAt()
        {
            var at = silence > TimeSpan.Zero ? link.HeardAt + silence : (TimeSpan?)null;
            return Earliest(at, PingAt());
        }

        /// <summary>When to ask for a sign of life, where pings of the server are not seen.</summary>
        TimeSpan? PingAt()
        {
            if (link.SeesPings || silence <= TimeSpan.Zero) return null;
            return Backoff.Max(link.HeardAt, pingedAt) + Backoff.Max(silence - pingGrace, Backoff.Times(silence, 0.5));
        }

        Ending Take(Received received)
        {
            if (received.Text == null) return owner.OnBinary(received.Bytes);
            try
            {
                var m = JsonValue.Parse(received.Text);
                string kind = m.StringOf("t");
                if (kind.Length == 0) throw new JsonException("a message without \"t\"");
                if (kind != "reconnect") return owner.OnMessage(kind, m);
                hint = new Reconnect(Wire.Millis(m.DoubleOf("after_ms")), m.StringOf("to"), clock.Now);
                return null;
            }
            catch (JsonException e) { return Ending.Of(EndKind.Protocol, e.Message, e); }
        }

        /// <summary>Ends what there is of a connection, and decides what comes after it.</summary>
        void Down(Ending why)
        {
            bool wasUp = link != null;
            if (wasUp && clock.Now - upAt > Backoff.Steady) backoff.Reset();
            if (wasUp)
            {
                if (why.Kind == EndKind.Protocol) link.EndSoon(1002);
                else link.Abort();
                link = null;
                phase = Phase.Connecting;
                owner.OnDown();
                if (phase != Phase.Connecting) return;
            }
            if (attempt != null && !why.Permanent) // it was moving: the new connection is under way
            {
                hint = null;
                owner.OnDial();
                return;
            }
            DropAttempt();
            moveAt = null;
            if (why.Permanent)
            {
                phase = Phase.Closed;
                owner.OnClosed(why);
                return;
            }
            Wait(why);
        }

        void Wait(Ending why)
        {
            if (hint != null && hint.To.Length > 0)
            {
                sentTo = Target.Follow(Target.Parse(owner.Address), hint.To, options.Hosts);
                if (sentTo == null) owner.OnProblem(new InvalidOperationException("a reconnect to a host that is none, or that Hosts does not list"));
            }
            var pause = backoff.Next(why, hint, clock.Now);
            named = hint != null || why.RetryAfter > TimeSpan.Zero || Backoff.Busy(why);
            phase = Phase.Waiting;
            due = clock.Now + pause;
            owner.OnWaiting(why, pause);
        }

        void StepLeaving()
        {
            if (link.End != null || clock.Now >= leaveBy)
            {
                Finish(Ending.Of(EndKind.Left, "the application has left"));
                return;
            }
            if (saidClose || !owner.ReadyToLeave) return;
            owner.OnLeave();
            if (!link.Drained) return; // it wakes us when it is
            saidClose = true;
            link.SayClose(1000);
        }
    }
}
