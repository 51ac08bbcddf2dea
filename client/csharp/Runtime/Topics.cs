using System;
using System.Collections.Generic;
using System.Threading.Tasks;

namespace Homing
{
    /// <summary>The topics that the application wants to hear, on whatever connection there is.</summary>
    sealed class Topics
    {
        sealed class Subscription
        {
            internal string Topic;
            internal Source History; // null: without
            internal bool Asked;
            internal TimeSpan AskAt; // while it has no history and is not Asked
            internal bool On; // on this connection
            internal readonly TaskCompletionSource<Resumed> First = new TaskCompletionSource<Resumed>();
        }

        static readonly TimeSpan again = TimeSpan.FromSeconds(1);

        readonly Clock clock;
        readonly Requests requests;
        readonly CatchUp catchUp;
        readonly Action<Source> load; // its place
        readonly Action<Action> later;
        readonly Action<Exception> problem;
        readonly Func<bool> up;
        readonly Dictionary<string, Subscription> all = new Dictionary<string, Subscription>();

        internal Topics(Clock clock, Requests requests, CatchUp catchUp, Func<bool> up, Action<Source> load, Action<Action> later, Action<Exception> problem)
        {
            this.clock = clock;
            this.requests = requests;
            this.catchUp = catchUp;
            this.up = up;
            this.load = load;
            this.later = later;
            this.problem = problem;
        }

        internal TimeSpan? Due
        {
            get
            {
                if (!up()) return null;
                TimeSpan? due = null;
                foreach (var s in all.Values)
                    if (s.History == null && !s.Asked) due = Line.Earliest(due, s.AskAt);
                return due;
            }
        }

        internal Task<Resumed> Subscribe(string topic, bool history)
        {
            Subscription s;
            if (all.TryGetValue(topic, out s)) return s.First.Task;
            s = new Subscription { Topic = topic };
            all[topic] = s;
            if (!history) return s.First.Task;
            s.History = new Source(topic);
            s.History.Ask = () => Ask(s);
            catchUp.Add(s.History);
            if (up())
            {
                load(s.History);
                s.History.Want(true);
            }
            return s.First.Task;
        }

        internal Task Unsubscribe(string topic)
        {
            Forget(topic, "unsubscribed");
            var done = new TaskCompletionSource<bool>();
            // Where there is no connection there is nothing to end.
            if (!requests.Send("unsubscribe", new JsonWriter().Add("t", "unsubscribe").Add("topic", topic), _ => later(() => done.TrySetResult(true)),
                code =>
                {
                    if (code == "lost" || code == "not_subscribed") later(() => done.TrySetResult(true));
                    else later(() => done.TrySetException(new RequestException("unsubscribe", code)));
                })) later(() => done.TrySetResult(true));
            return done.Task;
        }

        void Forget(string topic, string code)
        {
            Subscription s;
            if (!all.TryGetValue(topic, out s)) return;
            all.Remove(topic);
            if (s.History != null) catchUp.Remove(s.History);
            later(() => s.First.TrySetException(new RequestException("subscribe", code)));
            Observe(s.First.Task);
        }

        static void Observe(Task task) { Link.Forget(task); }

        internal void OnUp()
        {
            foreach (var s in all.Values)
            {
                s.Asked = s.On = false;
                s.AskAt = clock.Now;
                if (s.History == null) continue;
                load(s.History);
                s.History.Want(true);
            }
        }

        internal void OnClosed()
        {
            foreach (string topic in new List<string>(all.Keys)) 
                if (!all[topic].First.Task.IsCompleted) Forget(topic, "closed");
        }

        internal void Step()
        {
            if (!up()) return;
            foreach (var s in new List<Subscription>(all.Values))
                if (s.History == null && !s.Asked && clock.Now >= s.AskAt) Ask(s);
        }

        void Ask(Subscription s)
        {
            var message = new JsonWriter().Add("t", "subscribe").Add("topic", s.Topic);
            if (s.History != null) message.Add("after", s.History.Place);
            s.Asked = true;
            if (!requests.Send("subscribe", message, m => Answered(s, m), code => Refused(s, code))) Refused(s, "unavailable");
        }

        void Answered(Subscription s, JsonValue m)
        {
            var answer = new Resumed(m, s.Topic);
            s.On = true;
            if (s.History != null) catchUp.Answered(s.History, answer);
            later(() => s.First.TrySetResult(answer));
        }

        void Refused(Subscription s, string code)
        {
            switch (code)
            {
                case "lost": return; // the next connection asks
                case "unavailable": case "rate_limited": case "already_subscribed": case "timeout": case "too_early":
                    s.Asked = false;
                    s.AskAt = clock.Now + again + Backoff.Times(again, clock.Random());
                    if (s.History != null) catchUp.Refused(s.History);
                    return;
            }
            bool told = s.First.Task.IsCompleted;
            if (!all.ContainsKey(s.Topic) || all[s.Topic] != s) return;
            Forget(s.Topic, code);
            if (told) problem(new RequestException("subscribe " + s.Topic, code));
        }

        /// <summary>A backend has ended a membership.</summary>
        internal void Ended(string topic) { Forget(topic, "unsubscribed"); }
    }
}
