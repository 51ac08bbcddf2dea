using System;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;

namespace Homing
{
    /// <summary>A change of what a client is doing.</summary>
    public struct StateChange
    {
        public readonly ClientState State;
        /// <summary>Of Waiting and Closed: why; else null.</summary>
        public readonly Ending Why;
        /// <summary>Of Waiting: until the next attempt.</summary>
        public readonly TimeSpan Pause;

        internal StateChange(ClientState state, Ending why, TimeSpan pause)
        {
            State = state;
            Why = why;
            Pause = pause;
        }
    }

    /// <summary>
    /// Keeps a user connected: it connects again after every loss, catches up on what was stored
    /// meanwhile, gives each notification once and in order, and acknowledges it once it was dealt
    /// with (docs/protocol.md).
    ///
    /// Everything happens in Poll, which never blocks: handlers, events and the ends of tasks come
    /// out of it and nowhere else. Call it in Update of Unity, or in a loop of your own; RunAsync
    /// calls it where it was called from. The client has no threads and no timers: a client that is
    /// not polled does nothing but read ahead, answer pings and write what waits. All methods may be
    /// called from any thread, and from handlers.
    /// </summary>
    public sealed class HomingClient : ILineOwner, IDisposable
    {
        readonly HomingOptions options;
        readonly Clock clock;
        readonly object gate = new object(); // held by Poll and all methods
        readonly Line line;
        readonly Delivery delivery;
        readonly CatchUp catchUp;
        readonly Requests requests;
        readonly Topics topics;
        readonly Publisher publisher;
        readonly Acks acks = new Acks();
        readonly Queue<Action> later = new Queue<Action>();
        readonly List<Exception> unheard = new List<Exception>();
        readonly Dictionary<string, Func<Notification, Task>> byType = new Dictionary<string, Func<Notification, Task>>();
        readonly Friends friends = new Friends();
        readonly Room room;
        string user = ""; // whose places are loaded
        bool polling;
        volatile bool stopWanted;
        TaskCompletionSource<bool> woken = NewSignal(); // guarded by itself's lock object below
        readonly object signal = new object();

        public HomingClient(HomingOptions options)
        {
            this.options = options;
            clock = options.Clock;
            line = new Line(options, this, Wake);
            delivery = new Delivery(Handle, n => acks.Add(n.Id, clock.Now), Report, Wake);
            requests = new Requests(options, () => line.Up, line.Send);
            catchUp = new CatchUp(clock, delivery, r => Raise(() => { if (Resumed != null) Resumed(r); }), () => Tell(ClientState.Open, null, TimeSpan.Zero), Report);
            catchUp.Inbox.Ask = () => line.Send(new JsonWriter().Add("t", "resume").Add("after", catchUp.Inbox.Place).ToString());
            topics = new Topics(clock, requests, catchUp, () => line.Up, Load, Later, Report);
            publisher = new Publisher(options, requests, () => line.Up, Later);
            room = new Room(this, options, requests);
        }

        /// <summary>
        /// Is given each notification once, one after the other: the next one when the task has
        /// ended; null counts as ended. One with Ack is acknowledged then. One whose task fails
        /// counts as not had: it comes again if the server keeps it. Null: all are let go.
        /// </summary>
        public Func<Notification, Task> OnNotification;

        /// <summary>Each change of State.</summary>
        public event Action<StateChange> StateChanged;
        /// <summary>Connected, and registered.</summary>
        public event Action<Hello> Connected;
        /// <summary>
        /// What was missed follows, of the inbox or of a topic. When it is not Recovered, some is
        /// gone: ask the game's backend for its present state.
        /// </summary>
        public event Action<Resumed> Resumed;
        /// <summary>A backend has made this connection a member of a topic, or (false) ended that.</summary>
        public event Action<string, bool> TopicChanged;
        /// <summary>Messages of kinds that the client does not deal with by itself.</summary>
        public event Action<string, JsonValue> Other;
        /// <summary>
        /// A handler has failed, or the server did what it should not. When nobody listens, Poll
        /// throws the first one, once all is done.
        /// </summary>
        public event Action<Exception> Problem;

        /// <summary>What it is doing, as was told last.</summary>
        public ClientState State { get; private set; } = ClientState.Closed;
        /// <summary>Why it is Closed, after it has begun; else null.</summary>
        public Ending Why { get; private set; }
        /// <summary>Who of the user's friends is there.</summary>
        public Friends Friends { get { return friends; } }
        /// <summary>The game room.</summary>
        public Room Room { get { return room; } }
        /// <summary>Where the next connection resumes from.</summary>
        public string Place { get { return Locked(() => catchUp.Inbox.Place); } }
        /// <summary>Messages of Publish that have no answer yet.</summary>
        public bool Publishing { get { return Locked(() => !publisher.Idle); } }

        /// <summary>Gives notifications of a type to a handler of their own instead; null takes it away.</summary>
        public void On(string type, Func<Notification, Task> handler)
        {
            lock (gate)
            {
                if (handler == null) byType.Remove(type);
                else byType[type] = handler;
            }
        }

        /// <summary>Begins to connect, at the next Poll. A client that is Closed begins again where it was.</summary>
        public void Start()
        {
            lock (gate)
            {
                stopWanted = false;
                Why = null;
                delivery.Start();
                line.Start();
            }
            Wake();
        }

        /// <summary>
        /// Leaves: gives nothing more, waits for the handler that works, acknowledges, says
        /// good-bye, all within CloseTimeout and while it is polled. Then it is Closed.
        /// </summary>
        public void Stop()
        {
            stopWanted = true;
            Wake();
        }

        /// <summary>Ends everything at once, without a word. It need not be polled any more.</summary>
        public void Dispose()
        {
            lock (gate)
            {
                delivery.Stop();
                line.Abort();
                RunLater();
            }
            Wake();
        }

        /// <summary>
        /// Says whether the system has a network: without one no attempt is made, and when it is
        /// back one is made soon, unless the server has named a time.
        /// </summary>
        public void SetNetwork(bool there)
        {
            lock (gate) line.Network(there);
            Wake();
        }

        /// <summary>Cuts the connection as a lost network does: for tests and demonstrations.</summary>
        public void Cut()
        {
            lock (gate) line.Cut();
        }

        /// <summary>
        /// Hears a topic from now on, on every connection, until Unsubscribe. With history it is
        /// told what the topic has kept since what was dealt with last. The task ends when it works
        /// first, or with RequestException when it is refused for good.
        /// </summary>
        public Task<Resumed> Subscribe(string topic, bool history)
        {
            var task = Locked(() => topics.Subscribe(topic, history));
            Wake();
            return task;
        }

        public Task Unsubscribe(string topic) { return Locked(() => topics.Unsubscribe(topic)); }

        /// <summary>
        /// Publishes JSON to a topic; type may be null. One after the other, again after a loss,
        /// under an id by which the server knows repeats. The task ends with the id of the
        /// notification, or with RequestException: a refusal for good, "timeout" after
        /// PublishTimeout (it may have been told), "full". Throws JsonException.
        /// </summary>
        public Task<string> Publish(string topic, string json, string type = null, CancellationToken cancel = default(CancellationToken))
        {
            var task = Locked(() => publisher.Publish(topic, json, type, cancel));
            if (cancel.CanBeCanceled) cancel.Register(Wake);
            Wake();
            return task;
        }

        /// <summary>
        /// Waits in a queue for a match; rating may be null. It holds as long as the connection and
        /// the queue's heartbeat: ask again when State is Open again.
        /// </summary>
        public Task Match(string queue, double? rating = null, IEnumerable<string> labels = null)
        {
            var m = new JsonWriter().Add("t", "match").Add("queue", queue);
            if (rating != null) m.Add("rating", rating.Value);
            if (labels != null) m.Add("labels", labels);
            return Request("match", m);
        }

        /// <summary>Waits in a queue no more.</summary>
        public Task Unmatch(string queue) { return Request("unmatch", new JsonWriter().Add("t", "unmatch").Add("queue", queue)); }

        /// <summary>Answers an offered match.</summary>
        public Task Accept(string queue, bool yes) { return Request("accept", new JsonWriter().Add("t", "accept").Add("queue", queue).Add("yes", yes)); }

        /// <summary>
        /// Sends a message of the protocol's, and ends with the answer; or with RequestException:
        /// the server's code, "lost", "timeout" or "full".
        /// </summary>
        public Task<JsonValue> Request(string kind, JsonWriter message)
        {
            return Locked(() =>
            {
                var done = new TaskCompletionSource<JsonValue>();
                bool sent = requests.Send(kind, message, m => Later(() => done.TrySetResult(m)), code => Later(() => done.TrySetException(new RequestException(kind, code))));
                if (!sent) Later(() => done.TrySetException(new RequestException(kind, line.Up ? "full" : "lost")));
                return done.Task;
            });
        }

        // Polling

        /// <summary>
        /// Does all that is due, and calls whoever is to hear of it. It never blocks but in the
        /// application's own handlers. A Poll within a Poll does nothing.
        /// </summary>
        public void Poll()
        {
            Exception first = null;
            lock (gate)
            {
                if (polling) return;
                polling = true;
                try { StepAll(); }
                finally { polling = false; }
                if (unheard.Count > 0)
                {
                    first = unheard[0];
                    unheard.Clear();
                }
            }
            if (first != null) throw new HandlerException(first);
        }

        void StepAll()
        {
            if (stopWanted)
            {
                stopWanted = false;
                delivery.Stop();
                line.Leave();
            }
            delivery.Step();
            line.Step();
            requests.Step();
            catchUp.Step();
            topics.Step();
            room.Step();
            delivery.Step();
            publisher.Step();
            if (line.Up)
                foreach (string text in acks.Take(clock.Now, false)) line.Send(text);
            RunLater();
            Save();
            if (line.More && !((ILineOwner)this).Full) Wake(); // there is room again: go on at once
        }

        void RunLater()
        {
            while (later.Count > 0) Raise(later.Dequeue());
        }

        /// <summary>How long until Poll has something to do by itself, at most an hour.</summary>
        public TimeSpan UntilDue()
        {
            lock (gate)
            {
                if (later.Count > 0 || stopWanted) return TimeSpan.Zero;
                var due = Line.Earliest(line.Due, Line.Earliest(requests.Due, Line.Earliest(catchUp.Due, Line.Earliest(topics.Due, Line.Earliest(publisher.Due, room.Due)))));
                if (line.Up) due = Line.Earliest(due, acks.Due);
                var most = TimeSpan.FromHours(1);
                return due == null ? most : Backoff.Max(TimeSpan.Zero, Backoff.Min(most, due.Value - clock.Now));
            }
        }

        /// <summary>
        /// Starts, and polls until the client is Closed; it leaves when the token is cancelled. It
        /// returns why it has ended; a problem that nobody listens to ends both. Everything is heard where it was called from: on the
        /// synchronisation context of the caller, Unity's main loop for example, if there is one.
        /// </summary>
        public async Task<Ending> RunAsync(CancellationToken cancel)
        {
            Start();
            using (cancel.Register(Stop))
            {
                for (;;)
                {
                    Task wake = Signal();
                    try { Poll(); }
                    catch (HandlerException)
                    {
                        Dispose(); // nobody would poll it
                        throw;
                    }
                    if (Locked(() => line.Ended && later.Count == 0 && (delivery.Idle || Why.Kind == EndKind.Left))) return Why;
                    var wait = UntilDue();
                    if (wait <= TimeSpan.Zero) wait = TimeSpan.FromMilliseconds(1);
                    using (var stop = new CancellationTokenSource())
                    {
                        await Task.WhenAny(wake, Task.Delay(wait + TimeSpan.FromMilliseconds(1), stop.Token));
                        stop.Cancel(); // ends the delay's timer
                    }
                }
            }
        }

        /// <summary>Ends when there may be something for Poll to do that has come from outside.</summary>
        public Task Signal()
        {
            lock (signal)
            {
                if (woken.Task.IsCompleted) woken = NewSignal();
                return woken.Task;
            }
        }

        static TaskCompletionSource<bool> NewSignal() { return new TaskCompletionSource<bool>(TaskCreationOptions.RunContinuationsAsynchronously); }

        void Wake()
        {
            lock (signal) woken.TrySetResult(true);
        }

        // For the parts

        internal T Locked<T>(Func<T> what)
        {
            lock (gate) return what();
        }

        internal bool MoveLine()
        {
            if (line.Ended) return false;
            line.Move();
            Wake();
            return true;
        }

        internal void StayOnLine() { line.Stay(); }

        internal bool SendLine(string text)
        {
            if (!line.Up) return false;
            line.Send(text);
            return true;
        }

        internal bool SendLine(byte[] bytes)
        {
            if (!line.Up) return false;
            line.Send(bytes);
            return true;
        }

        /// <summary>Does something at the end of a Poll, when all parts are in order again.</summary>
        internal void Later(Action what)
        {
            later.Enqueue(what);
            Wake();
        }

        /// <summary>Calls the application; what it throws is a Problem.</summary>
        internal void Raise(Action what)
        {
            try { what(); }
            catch (Exception e) { Report(e); }
        }

        void Report(Exception e)
        {
            var heard = Problem;
            if (heard == null)
            {
                if (unheard.Count < 16) unheard.Add(e);
                return;
            }
            try { heard(e); }
            catch (Exception again) { if (unheard.Count < 16) unheard.Add(again); }
        }

        Task Handle(Notification n)
        {
            Func<Notification, Task> handler;
            if (n.Type.Length == 0 || !byType.TryGetValue(n.Type, out handler)) handler = OnNotification;
            return handler == null ? null : handler(n);
        }

        void Tell(ClientState state, Ending why, TimeSpan pause)
        {
            State = state;
            Raise(() => { if (StateChanged != null) StateChanged(new StateChange(state, why, pause)); });
        }

        // Places

        void Load(Source s)
        {
            if (options.Store == null) return;
            Raise(() =>
            {
                string place = options.Store.Load(user + " " + s.Key);
                if (s.Place.Length == 0 && !s.Dirty) s.Place = place ?? "";
            });
        }

        void Save()
        {
            foreach (var s in catchUp.Sources)
            {
                if (!s.Dirty) continue;
                s.Dirty = false;
                var this_ = s;
                if (options.Store != null) Raise(() => options.Store.Save(user + " " + this_.Key, this_.Place));
            }
        }

        // What happens on the line

        string ILineOwner.Address { get { return room.Wanted ? room.Address : options.Url; } }

        bool ILineOwner.Full { get { return delivery.Count >= options.QueueMessages || delivery.Weight >= options.QueueBytes; } }

        bool ILineOwner.ReadyToLeave { get { return !delivery.Handling; } }

        void ILineOwner.OnDial() { Tell(ClientState.Connecting, null, TimeSpan.Zero); }

        void ILineOwner.OnUp(Hello hello)
        {
            if (user != hello.User)
            {
                if (user.Length > 0)
                    foreach (var s in catchUp.Sources) s.Place = ""; // it was another user's
                user = hello.User;
            }
            Load(catchUp.Inbox);
            Tell(ClientState.Recovering, null, TimeSpan.Zero);
            Raise(() => { if (Connected != null) Connected(hello); });
            catchUp.OnUp(hello.Resume);
            topics.OnUp();
            room.OnUp();
        }

        void ILineOwner.OnDown()
        {
            friends.OnDown();
            publisher.OnDown();
            requests.OnDown();
            catchUp.OnDown();
            room.OnDown();
        }

        void ILineOwner.OnLeave()
        {
            foreach (string text in acks.Take(clock.Now, true)) line.Send(text);
        }

        void ILineOwner.OnWaiting(Ending why, TimeSpan pause)
        {
            room.OnFailed();
            Tell(ClientState.Waiting, why, pause);
        }

        void ILineOwner.OnMoveFailed(Ending why, bool forGood)
        {
            room.OnFailed();
            if (forGood) room.Barred(why);
        }

        void ILineOwner.OnClosed(Ending why)
        {
            Why = why;
            catchUp.OnClosed();
            publisher.OnClosed();
            topics.OnClosed();
            room.OnClosed();
            Tell(ClientState.Closed, why, TimeSpan.Zero);
        }

        void ILineOwner.OnProblem(Exception problem) { Report(problem); }

        Ending ILineOwner.OnBinary(byte[] message)
        {
            try { room.TakeBinary(message); }
            catch (JsonException e) { return Ending.Of(EndKind.Protocol, e.Message, e); }
            return null;
        }

        Ending ILineOwner.OnMessage(string kind, JsonValue m)
        {
            switch (kind)
            {
                case "notify": catchUp.Take(new Notification(m)); return null;
                case "resumed": catchUp.Answered(catchUp.Inbox, new Resumed(m, "")); return null;
                case "error": TakeError(m); return null;
                case "reconnect": case "hello": return null;
            }
            try { TakeOther(kind, m); }
            catch (JsonException) { Raise(() => { if (Other != null) Other(kind, m); }); } // a later server's
            return null;
        }

        /// <summary>Takes what nothing is lost by. Throws JsonException.</summary>
        void TakeOther(string kind, JsonValue m)
        {
            if (kind == "friends" || kind == "presence") friends.Take(kind, m, Raise);
            else if (kind == "frame") room.Take(kind, m);
            else if (requests.Take(kind, m)) return;
            else if (kind == "joined" || kind == "moved" || kind == "left") room.Take(kind, m);
            else if (kind == "subscribed" || kind == "unsubscribed") TakeTopic(kind, m);
            else if (kind != "ok") Raise(() => { if (Other != null) Other(kind, m); });
        }

        void TakeError(JsonValue m)
        {
            string of = "";
            var o = m["of"];
            if (o != null && o.Kind == JsonKind.String) of = o.AsString();
            if (of == "resume") catchUp.Refused(catchUp.Inbox);
            else if (of == "join" || of == "say" || of == "leave") room.TakeError(of, m);
            else if (of == "ack") return; // it is kept, replayed, and acknowledged again
            else if (!requests.Take("error", m)) Raise(() => { if (Other != null) Other("error", m); });
        }

        void TakeTopic(string kind, JsonValue m)
        {
            string topic = m.StringOf("topic");
            bool member = kind == "subscribed";
            if (!member) topics.Ended(topic);
            Raise(() => { if (TopicChanged != null) TopicChanged(topic, member); });
        }
    }

    /// <summary>What a handler of the application threw, when nobody listens to Problem.</summary>
    public sealed class HandlerException : Exception
    {
        internal HandlerException(Exception inner) : base("a handler has failed: " + inner.Message, inner) { }
    }
}
