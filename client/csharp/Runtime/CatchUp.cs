using System;
using System.Collections.Generic;

namespace Homing
{
    /// <summary>
    /// Asks the sources for what was missed, one after the other, so that no replay runs into
    /// another, and decides in which order notifications are given (docs/protocol.md, "Catching up").
    /// </summary>
    sealed class CatchUp
    {
        static readonly TimeSpan again = TimeSpan.FromSeconds(1); // a source that cannot tell is left alone so long, up to twice
        static readonly TimeSpan answer = TimeSpan.FromSeconds(15); // longer than a server takes

        readonly Clock clock;
        readonly Delivery delivery;
        readonly Action<Resumed> resumed;
        readonly Action caughtUp;
        readonly Action<Exception> problem;
        readonly List<Source> sources = new List<Source>();
        internal readonly Source Inbox = new Source("");
        Source turn; // which is asked, or replays
        int connection; // counts them

        internal CatchUp(Clock clock, Delivery delivery, Action<Resumed> resumed, Action caughtUp, Action<Exception> problem)
        {
            this.clock = clock;
            this.delivery = delivery;
            this.resumed = resumed;
            this.caughtUp = caughtUp;
            this.problem = problem;
            sources.Add(Inbox);
        }

        internal IEnumerable<Source> Sources { get { return sources; } }

        internal TimeSpan? Due
        {
            get
            {
                if (turn != null) return turn.State == Source.Phase.Asking ? turn.AnswerBy : (TimeSpan?)null;
                TimeSpan? due = null;
                foreach (var s in sources)
                    if (s.State == Source.Phase.Behind) due = Line.Earliest(due, s.AskAt);
                return due;
            }
        }

        internal void OnUp(bool resume)
        {
            connection++;
            turn = null;
            Inbox.Want(resume);
            if (resume) return;
            Give(Inbox.Release());
            int this_ = connection;
            delivery.Add(() => { if (this_ == connection) caughtUp(); });
        }

        internal void OnDown()
        {
            turn = null;
            connection++;
            foreach (var s in sources) s.Lose();
        }

        /// <summary>Nothing will tell any more what was missed: gives what was set aside.</summary>
        internal void OnClosed()
        {
            foreach (var s in sources.ToArray()) Give(s.Release());
        }

        /// <summary>Has a topic asked, now that the client is connected, or when it is.</summary>
        internal void Add(Source s)
        {
            if (!sources.Contains(s)) sources.Add(s);
        }

        internal void Remove(Source s)
        {
            sources.Remove(s);
            s.Lose();
            if (turn == s) turn = null;
            Give(s.Release());
        }

        internal void Step()
        {
            if (turn != null && turn.State == Source.Phase.Asking && clock.Now >= turn.AnswerBy) Refused(turn);
            if (turn != null) return;
            foreach (var s in sources)
            {
                if (s.State != Source.Phase.Wanted && !(s.State == Source.Phase.Behind && clock.Now >= s.AskAt)) continue;
                turn = s;
                s.State = Source.Phase.Asking;
                s.AnswerBy = clock.Now + answer;
                s.Ask();
                return;
            }
        }

        /// <summary>Reports whether an answer of a source may come.</summary>
        internal bool Waiting(Source s) { return s.State == Source.Phase.Asking || s.State == Source.Phase.Behind; }

        /// <summary>A source has answered; the replay follows.</summary>
        internal void Answered(Source s, Resumed answer)
        {
            if (!Waiting(s) || (turn != null && turn != s)) return; // nobody asked
            turn = s;
            s.State = Source.Phase.Replaying;
            s.Left = answer.Count;
            s.Last = answer.Last;
            delivery.Add(() => resumed(answer));
            EndReplay();
        }

        /// <summary>A source cannot tell now: messages pass, and it is asked again.</summary>
        internal void Refused(Source s)
        {
            if (!Waiting(s)) return;
            if (turn == s) turn = null;
            s.FallBehind(clock.Now + again + Backoff.Times(again, clock.Random()));
            Give(s.Release());
        }

        internal void Take(Notification n)
        {
            if (turn == null || turn.State != Source.Phase.Replaying)
            {
                Route(n);
                return;
            }
            delivery.Add(n, null);
            turn.Left--;
            EndReplay();
        }

        void EndReplay()
        {
            if (turn.Left > 0) return;
            var s = turn;
            turn = null;
            s.State = Source.Phase.Live;
            string last = s.Last;
            int this_ = connection;
            delivery.Add(() =>
            {
                s.Move(last);
                if (s == Inbox && this_ == connection) caughtUp();
            });
            Give(s.Release());
        }

        void Give(List<Notification> all)
        {
            foreach (var n in all) Route(n);
        }

        /// <summary>Gives what is no part of a replay, or sets it aside.</summary>
        void Route(Notification n)
        {
            foreach (var s in sources)
            {
                if (!s.SetsAside(n)) continue;
                if (s.Add(n)) return;
                problem(new InvalidOperationException("no answer to what was asked, and too much came meanwhile: order is not kept"));
                s.Pass();
                Give(s.Release());
                return;
            }
            List<Source> moves = null;
            foreach (var s in sources)
                if (s.Moves(n)) (moves ?? (moves = new List<Source>())).Add(s);
            delivery.Add(n, moves);
        }
    }
}
