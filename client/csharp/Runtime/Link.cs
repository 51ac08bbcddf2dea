using System;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;

namespace Homing
{
    /// <summary>
    /// A connection that is read ahead of whoever polls, so that pings are answered meanwhile, but
    /// no further than some messages and bytes: then the rest waits in the kernels and at the
    /// server. What is sent waits here, bounded too. The tasks of input and output run where the
    /// runtime completes them; all they do is to move messages in and out of the two queues.
    /// </summary>
    sealed class Link
    {
        const int outboxMessages = 1024, outboxBytes = 4 << 20;

        readonly Connection connection;
        readonly Clock clock;
        readonly Action wake;
        readonly int mostMessages, mostBytes; // that are read ahead

        readonly object gate = new object(); // guards what follows
        readonly Queue<Received> inbox = new Queue<Received>();
        readonly Queue<Received> outbox = new Queue<Received>();
        int inboxWeight, outboxWeight;
        TaskCompletionSource<bool> room; // set while the reader waits for some
        bool discarding, writing;
        TimeSpan writingSince, readAgainAt;
        Ending readEnd; // set when nothing more comes
        TimeSpan? failedAt; // a write failed

        internal Link(Connection connection, HomingOptions options, Action wake)
        {
            this.connection = connection;
            clock = options.Clock;
            this.wake = wake;
            mostMessages = options.QueueMessages;
            mostBytes = options.QueueBytes;
        }

        internal void Start() { Read(); }

        internal bool SeesPings { get { return connection.SeesPings; } }

        /// <summary>When a sign of life came last. Who is not read cannot give one.</summary>
        internal TimeSpan HeardAt
        {
            get
            {
                lock (gate)
                {
                    if (room != null) return clock.Now;
                    return Backoff.Max(connection.HeardAt, readAgainAt);
                }
            }
        }

        /// <summary>Since when a write is under way, or null.</summary>
        internal TimeSpan? WritingSince
        {
            get { lock (gate) return writing ? writingSince : (TimeSpan?)null; }
        }

        /// <summary>When a write failed, or null. What the server has said is still read.</summary>
        internal TimeSpan? FailedAt { get { lock (gate) return failedAt; } }

        /// <summary>Why nothing more comes, once all that came was taken; else null.</summary>
        internal Ending End
        {
            get { lock (gate) return inbox.Count == 0 ? readEnd : null; }
        }

        internal bool Waits { get { lock (gate) return inbox.Count > 0; } }

        internal bool TryTake(out Received message)
        {
            TaskCompletionSource<bool> go = null;
            lock (gate)
            {
                message = default(Received);
                if (inbox.Count == 0) return false;
                message = inbox.Dequeue();
                inboxWeight -= message.Weight;
                if (room != null && !FullLocked()) go = GoOnLocked();
            }
            if (go != null) go.SetResult(true);
            return true;
        }

        bool FullLocked() { return !discarding && (inbox.Count >= mostMessages || inboxWeight >= mostBytes); }

        TaskCompletionSource<bool> GoOnLocked()
        {
            var go = room;
            room = null;
            readAgainAt = clock.Now;
            return go;
        }

        /// <summary>From now on what comes is dropped; the connection is still read to its end.</summary>
        internal void Discard()
        {
            TaskCompletionSource<bool> go = null;
            lock (gate)
            {
                discarding = true;
                inbox.Clear();
                inboxWeight = 0;
                if (room != null) go = GoOnLocked();
            }
            if (go != null) go.SetResult(true);
        }

        async void Read()
        {
            Ending end;
            try
            {
                for (;;)
                {
                    await Room().ConfigureAwait(false);
                    var message = await connection.Receive().ConfigureAwait(false);
                    lock (gate)
                    {
                        if (!discarding)
                        {
                            inbox.Enqueue(message);
                            inboxWeight += message.Weight;
                        }
                    }
                    wake();
                }
            }
            catch (Exception e) { end = EndedException.Of(e); }
            lock (gate) readEnd = end;
            wake();
        }

        Task Room()
        {
            lock (gate)
            {
                if (!FullLocked()) return Task.FromResult(true);
                // Its continuation must not run inside Poll: it reads, and may do so for long.
                room = new TaskCompletionSource<bool>(TaskCreationOptions.RunContinuationsAsynchronously);
                return room.Task;
            }
        }

        /// <summary>Sends in turn. Reports false, and ends the connection, when too much waits.</summary>
        internal bool Send(Received message)
        {
            lock (gate)
            {
                if (outbox.Count < outboxMessages && outboxWeight + message.Weight <= outboxBytes)
                {
                    outbox.Enqueue(message);
                    outboxWeight += message.Weight;
                    if (writing) return true;
                    writing = true;
                    writingSince = clock.Now;
                }
                else
                {
                    outbox.Clear();
                    outboxWeight = 0;
                    connection.Abort();
                    return false;
                }
            }
            Write();
            return true;
        }

        async void Write()
        {
            try
            {
                for (;;)
                {
                    Received next;
                    lock (gate)
                    {
                        if (outbox.Count == 0)
                        {
                            writing = false;
                            break;
                        }
                        next = outbox.Dequeue();
                        outboxWeight -= next.Weight;
                        writingSince = clock.Now;
                    }
                    await connection.Send(next).ConfigureAwait(false);
                }
            }
            catch (Exception)
            {
                lock (gate) // writing stays set: nothing more is tried
                {
                    failedAt = clock.Now;
                    outbox.Clear();
                    outboxWeight = 0;
                }
            }
            wake();
        }

        /// <summary>Reports whether all that was to be sent was given to the connection.</summary>
        internal bool Drained { get { lock (gate) return !writing || failedAt != null; } }

        internal void SayClose(int code) { Forget(connection.SayClose(code)); }

        internal void Abort() { connection.Abort(); }

        /// <summary>Says good-bye and ends the connection a second later at most, without being waited for.</summary>
        internal async void EndSoon(int code)
        {
            Discard();
            SayClose(code);
            for (int i = 0; i < 20 && End == null; i++) await Task.Delay(50).ConfigureAwait(false);
            Abort();
        }

        /// <summary>Has a failure of a task that nobody waits for taken note of.</summary>
        internal static void Forget(Task task)
        {
            task.ContinueWith(t => { var _ = t.Exception; }, CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted | TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        }
    }
}
