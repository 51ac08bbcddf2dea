using System;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;

namespace Homing
{
    /// <summary>
    /// Gives notifications to the application, one after the other: the next one when the task of
    /// the last has ended. It outlives connections.
    /// </summary>
    sealed class Delivery
    {
        struct Item
        {
            internal Notification Notification; // or
            internal Action Then; // what happens in turn
            internal List<Source> Moves; // whose places it moves
        }

        readonly Seen seen = new Seen();
        readonly Queue<Item> queue = new Queue<Item>();
        readonly Func<Notification, Task> handle;
        readonly Action<Notification> ack;
        readonly Action<Exception> problem;
        readonly Action wake;
        int weight; // of queue
        Item current;
        Task handling; // of current; null: none
        bool stopped;

        internal Delivery(Func<Notification, Task> handle, Action<Notification> ack, Action<Exception> problem, Action wake)
        {
            this.handle = handle;
            this.ack = ack;
            this.problem = problem;
            this.wake = wake;
        }

        internal int Count { get { return queue.Count; } }
        internal int Weight { get { return weight; } }
        internal bool Handling { get { return handling != null; } }
        internal bool Idle { get { return handling == null && (stopped || queue.Count == 0); } }

        internal void Add(Notification n, List<Source> moves)
        {
            queue.Enqueue(new Item { Notification = n, Moves = moves });
            weight += n.Weight;
        }

        internal void Add(Action then) { queue.Enqueue(new Item { Then = then }); }

        /// <summary>Gives nothing more; what is being dealt with may end.</summary>
        internal void Stop() { stopped = true; }

        internal void Start() { stopped = false; }

        internal void Step()
        {
            for (;;)
            {
                if (handling != null)
                {
                    if (!handling.IsCompleted) return;
                    Finish();
                }
                if (stopped || queue.Count == 0) return;
                current = queue.Dequeue();
                if (current.Then != null) current.Then();
                else Begin();
            }
        }

        void Begin()
        {
            var n = current.Notification;
            weight -= n.Weight;
            if (seen.Has(n.Id))
            {
                if (n.Ack) ack(n); // an earlier one may have been lost
                return;
            }
            try { handling = handle(n) ?? Done; }
            catch (Exception e)
            {
                problem(e);
                return;
            }
            if (!handling.IsCompleted) handling.ContinueWith(_ => wake(), CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        }

        static readonly Task Done = Task.FromResult(true);

        /// <summary>What the application failed at counts as not had.</summary>
        void Finish()
        {
            var n = current.Notification;
            var task = handling;
            handling = null;
            if (task.Status != TaskStatus.RanToCompletion)
            {
                problem(task.Exception == null ? new TaskCanceledException(task) : task.Exception.GetBaseException());
                return;
            }
            seen.Add(n.Id);
            if (n.Ack) ack(n);
            if (current.Moves == null) return;
            foreach (var source in current.Moves) source.Move(n.Id);
        }
    }
}
