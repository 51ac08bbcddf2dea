using System;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;

namespace Homing
{
    /// <summary>
    /// Publishes messages one after the other, over connections: one that was not answered is sent
    /// again under its id, by which the server knows repeats, before those that came after it.
    /// </summary>
    sealed class Publisher
    {
        sealed class Message
        {
            internal string Id, Topic, Type, Data;
            internal TimeSpan By;
            internal CancellationToken Cancel;
            internal readonly TaskCompletionSource<string> Done = new TaskCompletionSource<string>();
        }

        static readonly TimeSpan again = TimeSpan.FromSeconds(1);

        readonly HomingOptions options;
        readonly Requests requests;
        readonly Action<Action> later;
        readonly Func<bool> up;
        readonly LinkedList<Message> waiting = new LinkedList<Message>();
        Message sent; // the first one, while its answer is due
        TimeSpan askAt;

        internal Publisher(HomingOptions options, Requests requests, Func<bool> up, Action<Action> later)
        {
            this.options = options;
            this.requests = requests;
            this.up = up;
            this.later = later;
        }

        internal bool Idle { get { return waiting.Count == 0; } }

        internal TimeSpan? Due
        {
            get
            {
                TimeSpan? due = null;
                foreach (var m in waiting) due = Line.Earliest(due, m.By);
                return waiting.Count > 0 && sent == null && up() ? Line.Earliest(due, askAt) : due;
            }
        }

        internal Task<string> Publish(string topic, string data, string type, CancellationToken cancel)
        {
            JsonValue.Parse(data); // throws
            var m = new Message { Id = NewId(), Topic = topic, Type = type, Data = data, By = options.Clock.Now + options.PublishTimeout, Cancel = cancel };
            if (waiting.Count >= options.PendingLimit) later(() => m.Done.TrySetException(new RequestException("publish", "full")));
            else waiting.AddLast(m);
            return m.Done.Task;
        }

        static string NewId()
        {
            var s = new System.Text.StringBuilder();
            foreach (byte b in Clock.Bytes(16)) s.Append(b.ToString("x2"));
            return s.ToString();
        }

        internal void OnDown() { sent = null; } // its request has ended, or is about to

        internal void OnClosed()
        {
            foreach (var m in new List<Message>(waiting)) Fail(m, "closed");
        }

        internal void Step()
        {
            var now = options.Clock.Now;
            foreach (var m in new List<Message>(waiting))
            {
                if (m.Cancel.IsCancellationRequested) Cancelled(m);
                else if (now >= m.By) Fail(m, "timeout");
            }
            if (sent != null || waiting.Count == 0 || !up() || now < askAt) return;
            var next = waiting.First.Value;
            var message = new JsonWriter().Add("t", "publish").Add("topic", next.Topic).Add("id", next.Id);
            if (!string.IsNullOrEmpty(next.Type)) message.Add("type", next.Type);
            message.AddJson("data", next.Data);
            sent = next;
            if (!requests.Send("publish", message, m => Answered(next, m), code => Refused(next, code))) Refused(next, "unavailable");
        }

        void Answered(Message next, JsonValue m)
        {
            string id = m.StringOf("id");
            Remove(next);
            later(() => next.Done.TrySetResult(id));
        }

        void Refused(Message next, string code)
        {
            switch (code)
            {
                case "lost": case "timeout": case "unavailable": case "rate_limited": case "too_early":
                    if (sent == next) sent = null;
                    askAt = code == "lost" ? TimeSpan.Zero : options.Clock.Now + again + Backoff.Times(again, options.Clock.Random());
                    return;
            }
            Fail(next, code);
        }

        void Fail(Message m, string code)
        {
            Remove(m);
            later(() => m.Done.TrySetException(new RequestException("publish", code)));
        }

        void Cancelled(Message m)
        {
            Remove(m);
            later(() => m.Done.TrySetCanceled());
        }

        void Remove(Message m)
        {
            waiting.Remove(m);
            if (sent == m) sent = null;
        }
    }
}
