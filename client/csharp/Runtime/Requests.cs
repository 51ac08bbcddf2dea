using System;
using System.Collections.Generic;

namespace Homing
{
    /// <summary>Messages of the client that wait for an answer with their ref, on one connection.</summary>
    sealed class Requests
    {
        sealed class Pending
        {
            internal string Of;
            internal TimeSpan By;
            internal Action<JsonValue> Answered;
            internal Action<string> Refused; // the code
        }

        readonly HomingOptions options;
        readonly Func<bool> up;
        readonly Action<string> send;
        readonly Dictionary<long, Pending> pending = new Dictionary<long, Pending>();
        long last;

        internal Requests(HomingOptions options, Func<bool> up, Action<string> send)
        {
            this.options = options;
            this.up = up;
            this.send = send;
        }

        internal TimeSpan? Due
        {
            get
            {
                TimeSpan? due = null;
                foreach (var p in pending.Values) due = Line.Earliest(due, p.By);
                return due;
            }
        }

        /// <summary>
        /// Sends a message with a ref. One of the two is called once, later: with the answer, or
        /// with the code of a refusal, "lost" when the connection ends before, or "timeout".
        /// Reports false, and calls none, when there is no connection or too many wait.
        /// </summary>
        internal bool Send(string kind, JsonWriter message, Action<JsonValue> answered, Action<string> refused)
        {
            if (!up() || pending.Count >= options.PendingLimit) return false;
            long number = ++last;
            pending[number] = new Pending { Of = kind, By = options.Clock.Now + options.RequestTimeout, Answered = answered, Refused = refused };
            send(message.Add("ref", number).ToString());
            return true;
        }

        /// <summary>Takes a message of the server; reports whether it was the answer to one here.</summary>
        internal bool Take(string kind, JsonValue m)
        {
            var number = m["ref"];
            if (number == null || number.Kind != JsonKind.Number) return false;
            long n;
            try { n = number.AsLong(); }
            catch (JsonException) { return false; }
            Pending p;
            if (!pending.TryGetValue(n, out p)) return false;
            pending.Remove(n);
            if (kind == "error") p.Refused(m.StringOf("code"));
            else p.Answered(m);
            return true;
        }

        internal void Step()
        {
            var now = options.Clock.Now;
            List<long> late = null;
            foreach (var p in pending)
                if (now >= p.Value.By) (late ?? (late = new List<long>())).Add(p.Key);
            if (late != null) End(late, "timeout");
        }

        internal void OnDown() { End(new List<long>(pending.Keys), "lost"); }

        void End(List<long> numbers, string code)
        {
            numbers.Sort();
            foreach (long n in numbers)
            {
                Pending p;
                if (!pending.TryGetValue(n, out p)) continue;
                pending.Remove(n);
                p.Refused(code);
            }
        }
    }
}
